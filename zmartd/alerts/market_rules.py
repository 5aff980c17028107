"""Rules about markets, and about what moves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Facts, Finding, Rule, listed
from zmartd.market.lifecycle import MarketState

MOVED_BY_TASKS: Final = frozenset({MarketState.RESOLVING, MarketState.DISPUTED})
"""The states that a task ends. Others wait for people, and no operator can help."""


def failed_transitions(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    failed = facts.index.failed_transitions
    if failed.number > settings.failed_transitions:
        yield Finding(
            failed.number,
            f"{failed.number} markets could not be moved on{listed(failed.examples, failed.number)}",
        )


def stuck_markets(facts: Facts, settings: AlertSettings) -> Iterator[Finding] | None:
    return None if facts.chain is None else _stuck_markets(facts, settings)


def _stuck_markets(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    assert facts.chain is not None, "the caller has looked"
    for stuck in facts.chain.stuck:
        if stuck.state in MOVED_BY_TASKS and stuck.markets > settings.stuck_markets:
            yield Finding(
                stuck.markets,
                f"{stuck.markets} {stuck.state.name} markets are more than an hour overdue"
                f"{listed(stuck.oldest, stuck.markets)}",
                stuck.state.name,
            )


def awaiting_decision(facts: Facts, _: AlertSettings) -> Iterator[Finding]:
    awaiting = facts.index.awaiting_decision
    if awaiting.number:
        yield Finding(
            awaiting.number,
            f"{awaiting.number} markets wait for an admin{listed(awaiting.examples, awaiting.number)}",
        )


def authority_balance(facts: Facts, settings: AlertSettings) -> Iterator[Finding] | None:
    if facts.chain is None:
        return None
    lamports = facts.chain.authority_lamports
    if lamports >= settings.authority_min_lamports:
        return iter(())
    return iter(
        (
            Finding(
                lamports,
                f"the backend authority {facts.chain.authority} has {lamports} lamports; it should have at "
                f"least {settings.authority_min_lamports}",
            ),
        )
    )


def unexplained_instants(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for task, seconds in sorted(facts.index.overdue_seconds.items()):
        yield Finding(
            seconds,
            f"{task} was due {seconds:.0f} s ago, and no daemon has run it or said why not; "
            f"{settings.unexplained_seconds} s are allowed",
            task,
        )


def audit_differences(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    found = facts.index.audit_differences
    if found.number > settings.audit_differences:
        yield Finding(
            found.number,
            f"{found.number} values of the index differ from the accounts on the "
            f"chain{listed(found.examples, len(found.examples))}",
        )


_NOT_COMPARED: Final = {
    "failing": "could not be read or compared",
    "moving": "changed during each comparison",
    "overdue": "were not compared",
}


def audit_incomplete(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for why, what in _NOT_COMPARED.items():
        if (waiting := facts.index.uncompared.get(why)) is not None:
            is_overdue = why == "overdue"
            allowed = settings.audit_overdue_seconds if is_overdue else settings.audit_failing_seconds
            yield Finding(
                waiting.seconds,
                f"{waiting.number} markets {what} for up to {waiting.seconds:.0f} s; "
                f"{allowed} s are allowed{listed(waiting.examples, waiting.number)}",
                why,
            )


RULES: Final = (
    Rule(
        name="failed_transitions",
        severity="critical",
        meaning="Markets could not be moved on: a transaction of the backend authority failed.",
        remedy="`zmartd tasks explain market_monitor` and the log say why; it is tried again, ever less "
        "often, and `zmartd tick market_monitor` tries now.",
        settings=("failed_transitions",),
        find=failed_transitions,
    ),
    Rule(
        name="stuck_markets",
        severity="critical",
        meaning="Markets should have been finalized, or their disputes settled, more than an hour ago.",
        remedy="`zmartd tasks` says whether market_monitor and vote_aggregator run, `zmartd check` whether "
        "the authority's key is right.",
        settings=("stuck_markets",),
        find=stuck_markets,
        lasts_seconds=60.0,
    ),
    Rule(
        name="awaiting_decision",
        severity="warning",
        meaning="Nothing but an admin moves a market on: its votes do not settle its dispute, a stranger "
        "proposed its outcome, or enough wallets like it and the daemon lacks the key to approve it.",
        remedy="GET /api/admin/pending lists them, with the transactions to sign; `zmartd decide MARKET`, or "
        "POST /api/markets/{id}/decisions, as docs/voting.md says.",
        settings=(),
        find=awaiting_decision,
    ),
    Rule(
        name="authority_balance",
        severity="critical",
        meaning="The backend authority can soon pay no fees, so that no market moves on.",
        remedy="Send lamports to its address.",
        settings=("authority_min_lamports",),
        find=authority_balance,
    ),
    Rule(
        name="unexplained_instants",
        severity="critical",
        meaning="A periodic task was due long ago, and its ledger says nothing about it.",
        remedy="`zmartd tasks explain NAME`; does a daemon run that has this task installed? Pause one "
        "that is gone for good: `zmartd tasks pause NAME`.",
        settings=("unexplained_seconds",),
        find=unexplained_instants,
        lasts_seconds=30.0,
    ),
    Rule(
        name="audit_differences",
        severity="critical",
        meaning="The index says something else about markets than the chain.",
        remedy="`zmartd audit` lists them, `zmartd audit --repair` fetches those markets again.",
        settings=("audit_differences",),
        find=audit_differences,
    ),
    Rule(
        name="audit_incomplete",
        severity="warning",
        meaning="Markets could not be compared with the chain: nobody knows whether the index is right.",
        remedy="`zmartd tasks explain auditor` says why. Where they are overdue, more accounts a second "
        "have to be compared: `tasks.auditor.accounts_per_second`.",
        settings=("audit_failing_seconds", "audit_overdue_seconds"),
        find=audit_incomplete,
    ),
)
