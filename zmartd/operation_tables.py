"""What the operator's commands print for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zmartd.indexer.audit import AuditReport
from zmartd.indexer.backfill import Backfilled
from zmartd.indexer.comparison import Difference, Value
from zmartd.indexer.readmission import Readmission
from zmartd.indexer.repair import Repair
from zmartd.indexer.replay import ReplayReport
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState, flipped
from zmartd.store.decisions import MarketDecision
from zmartd.store.inbox import ParkedDelivery
from zmartd.store.unverified import UnverifiedTransaction
from zmartd.tasks.deciding import OpenQuestion
from zmartd.tasks.disputes import OUTCOMES, votes_in_words

_SHORT_HASH = 16


def of_audit(report: AuditReport) -> str:
    """The differences in a table, and a last line that says how many there are."""
    lines = list(_table(("MARKET", "WALLET", "FIELD", "INDEX", "CHAIN"), map(_row, report.differences)))
    lines += [f"moving, look again: {market}" for market in report.moving]
    count = len(report.differences)
    verdict = f"{count} difference{'' if count == 1 else 's'}"
    lines.append(
        f"{verdict} in {report.markets} markets and {report.positions} positions, slot {report.slot}"
    )
    return "\n".join(lines)


def of_backfill(done: Backfilled) -> str:
    """One line, and another for each transaction that could not be had."""
    lines = [
        f"{done.transactions} transactions, {done.applied} of them missing, {done.new_events} new events",
        *(f"not found: {signature}" for signature in done.not_found),
    ]
    return "\n".join(lines)


def of_question(question: OpenQuestion, decision: Decision) -> str:
    """What is decided about, what its holders voted, and what follows from the decision."""
    proposed = question.proposed_outcome
    outcome = OUTCOMES[flipped(proposed) if decision is Decision.OVERTURN else proposed]
    follows = "no outcome is final, and holders get back what they paid"
    if decision is not Decision.REFUND:
        follows = f"{outcome} is final"
    # repr: a stranger's text must not move the terminal's cursor or turn the direction of what follows.
    lines = (
        f"market    {question.market_id} ({question.state.name})",
        f"question  {question.text!r}",
        f"proposed  {OUTCOMES[proposed]}",
        f"votes     {_votes(question)}",
        f"decision  {decision}: {follows}",
    )
    return "\n".join(lines)


def _votes(question: OpenQuestion) -> str:
    if question.state is not MarketState.DISPUTED:
        return "none: nobody has disputed the proposed outcome"
    if question.tally is None or question.tally.counted_at is None:
        return "not counted yet"
    return votes_in_words(question.tally)


def of_decision(made: MarketDecision) -> str:
    """What was decided, and what happens next."""
    return (
        f"decided for {made.market_id} ({made.state.name}): {made.decision.value}, because {made.because}\n"
        "The vote aggregator carries it out in its next run; `zmartd tick` runs it now."
    )


def of_repair(done: Repair) -> str:
    """What was done, what could not be had, and the audit after it."""
    renewed = done.done
    lines = [
        f"{renewed.transactions} transactions fetched, {renewed.written} events written, "
        f"{renewed.removed} taken away",
        *(f"not found: {signature}" for signature in renewed.not_found),
        of_audit(done.report),
    ]
    return "\n".join(lines)


def of_replay(report: ReplayReport) -> str:
    """A line per table with both hashes."""
    rows = (
        ("equal" if one.ok else "DIFFERS", one.table, one.indexed[:_SHORT_HASH], one.replayed[:_SHORT_HASH])
        for one in report.tables
    )
    lines = [*_table(("", "TABLE", "INDEX", "REPLAY"), rows)]
    return "\n".join([*lines, f"{report.transactions} transactions replayed"])


def of_readmission(done: Readmission) -> str:
    """One line, and another for each transaction that could not be had."""
    lines = [
        f"{done.applied} quarantined lines applied, {done.remaining} cannot be read yet",
        *(f"not found: {signature}" for signature in done.not_found),
    ]
    return "\n".join(lines)


def of_parked(deliveries: Sequence[ParkedDelivery]) -> str:
    """A line per delivery, the error last."""
    if not deliveries:
        return "nothing is parked"
    rows = (
        (
            str(one.id),
            str(one.transactions),
            str(one.attempts),
            one.parked_at.isoformat(timespec="seconds"),
            one.error.splitlines()[0] if one.error else "",
        )
        for one in deliveries
    )
    return "\n".join(_table(("ID", "TRANSACTIONS", "ATTEMPTS", "PARKED", "ERROR"), rows))


def of_unverified(transactions: Sequence[UnverifiedTransaction]) -> str:
    """A line per transaction, why it is not believed last."""
    if not transactions:
        return "nothing is unverified"
    rows = (
        (
            one.signature,
            str(one.slot),
            str(one.attempts),
            one.received_at.isoformat(timespec="seconds"),
            "waiting" if one.given_up_at is None else "given up",
            one.reason or one.doubt,
        )
        for one in transactions
    )
    return "\n".join(_table(("SIGNATURE", "SLOT", "ATTEMPTS", "RECEIVED", "STATUS", "REASON"), rows))


def _row(difference: Difference) -> tuple[str, ...]:
    return (
        difference.market or "protocol",
        difference.wallet or "-",
        difference.field,
        _text(difference.indexed),
        _text(difference.on_chain),
    )


def _text(value: Value) -> str:
    return "-" if value is None else str(value)


def _table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Aligned columns under a header; nothing at all without rows."""
    lines = [header, *rows]
    if len(lines) == 1:
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
