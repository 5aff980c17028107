"""`zmartd audit` and `zmartd backfill`: the index compared with the chain, and completed from it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, printable, progress_bar, table
from zmartd.commands.running import run_with_core

if TYPE_CHECKING:
    from zmartd.config import Settings
    from zmartd.core import Core
    from zmartd.indexer.audit.audit import AuditReport
    from zmartd.indexer.audit.comparison import Difference
    from zmartd.indexer.effects.facts import Value
    from zmartd.indexer.quarantine import QuarantineReport
    from zmartd.indexer.repair.repair import RepairReport
    from zmartd.indexer.replay.replay import ReplayReport
    from zmartd.indexer.walks.backfill import BackfillReport
    from zmartd.store.parked import Unapplied

_SHORTEST_SIGNATURE: Final = 64
"""The fewest characters of 64 bytes in base58."""
_SHORT_HASH: Final = 16


@click.command()
@click.option("--repair", is_flag=True, help="Make everything that differs equal to the chain again.")
@click.option(
    "--all", "everything", is_flag=True, help="With --repair: also what no account shows a difference of."
)
@click.option(
    "--replay", is_flag=True, help="Replay the whole chain into another database, and compare both."
)
@config_option
@json_option
def audit(repair: bool, everything: bool, replay: bool, config_path: Path | None, as_json: bool) -> None:
    """Compare the index with the chain's accounts: every market, position, vote count and fee. And compare
    the sums that it keeps, as candles and standings, with the trades and positions that they are of.

    The exit status is 0 when everything is the same, else 1. A repair fetches the transactions that are
    missing, or all of a market where rows were altered, builds the market again from them, and counts sums
    anew that differ. It takes values from accounts only where a transaction cannot be read.
    """
    if repair and replay:
        raise click.UsageError("--repair and --replay are two different things: give one of them")
    if everything and not repair:
        raise click.UsageError("--all says how much to repair: give --repair, too")
    settings = operator_settings(config_path)
    if replay:
        _replay(settings, as_json)
    elif repair:
        _repair(settings, everything, as_json)
    else:
        _audit(settings, as_json)


def _audit(settings: Settings, as_json: bool) -> None:
    from zmartd.indexer.audit.audit import audit

    report = run_with_core(settings, lambda core: audit(core.database, core.rpc, core.idl.program_id))
    print_result(as_json, report, _audit_text(report))
    sys.exit(0 if report.ok else 1)


def _repair(settings: Settings, everything: bool, as_json: bool) -> None:
    from zmartd.indexer.repair.repair import Repairer

    with progress_bar(as_json, "markets") as progress:

        async def repair(core: Core) -> RepairReport:
            repairer = Repairer(core.rpc, core.fetcher, core.database, core.idl.program_id)
            return await (repairer.repair_everything if everything else repairer.repair)(progress)

        repaired = run_with_core(settings, repair)
    print_result(as_json, repaired, _repair_text(repaired))
    sys.exit(0 if repaired.ok else 1)


def _replay(settings: Settings, as_json: bool) -> None:
    from zmartd.indexer.replay.replay import replay

    with progress_bar(as_json, "transactions") as progress:

        async def compare(core: Core) -> ReplayReport:
            await core.indexer.reprice_everything()
            return await replay(
                core.database,
                settings.database,
                rpc=core.rpc,
                program_id=core.idl.program_id,
                parse=core.parse,
                progress=progress,
            )

        replayed = run_with_core(settings, compare)
    print_result(as_json, replayed, _replay_text(replayed))
    sys.exit(0 if replayed.ok else 1)


@click.command()
@click.option("--from-slot", type=click.IntRange(0), default=0, help="The first slot to read.")
@click.option("--until", metavar="SIGNATURE|SLOT", help="The last transaction or slot to read.")
@click.option(
    "--quarantine", is_flag=True, help="Instead: apply quarantined lines that the IDL can decode now."
)
@config_option
@json_option
def backfill(
    from_slot: int, until: str | None, quarantine: bool, config_path: Path | None, as_json: bool
) -> None:
    """Apply what the index lacks of the program's history, from its beginning; safe to stop and repeat.

    The exit status is 1 when the RPC node does not give a transaction that its history names, when one cannot
    be read or applied and is parked, or when lines stay in quarantine.
    """
    if quarantine and (from_slot or until):
        raise click.UsageError("--quarantine reads every quarantined line: give no part of the history")
    settings = operator_settings(config_path)
    if quarantine:
        _retry_quarantined(settings, as_json)
    else:
        _backfill(settings, from_slot, until, as_json)


def _backfill(settings: Settings, from_slot: int, until: str | None, as_json: bool) -> None:
    from zmartd.indexer.walks.backfill import backfill
    from zmartd.indexer.walks.ranged import RangeWalk, SignatureRange

    signature_range = SignatureRange(from_slot, _slot_or_signature(until))
    with progress_bar(as_json, "transactions") as progress:

        async def fill(core: Core) -> BackfillReport:
            walk = await RangeWalk(core.rpc, core.idl.program_id, signature_range).count()
            return await backfill(core.database, core.fetcher, walk, progress)

        done = run_with_core(settings, fill)
    print_result(as_json, done, _backfill_text(done))
    sys.exit(0 if done.ok else 1)


def _slot_or_signature(until: str | None) -> int | str | None:
    """Digits alone are a slot, unless there are as many as only a signature has."""
    is_slot = until is not None and until.isascii() and until.isdigit() and len(until) < _SHORTEST_SIGNATURE
    return int(until) if until is not None and is_slot else until


def _retry_quarantined(settings: Settings, as_json: bool) -> None:
    from zmartd.indexer.quarantine import retry_quarantined

    done = run_with_core(settings, lambda core: retry_quarantined(core.database, core.fetcher, core.codec))
    print_result(as_json, done, _quarantine_text(done))
    sys.exit(1 if done.remaining else 0)


def _audit_text(report: AuditReport) -> str:
    """A table of the differences, the markets that changed meanwhile, and a last line with the counts."""
    differences = table(map(_row, report.differences), header=("MARKET", "WALLET", "FIELD", "INDEX", "CHAIN"))
    lines = [differences] if differences else []
    lines += [f"moving, look again: {market}" for market in report.moving]
    kept = table(
        ((one.table, printable(one.kept or "-"), printable(one.counted or "-")) for one in report.kept),
        header=("TABLE", "KEPT", "COUNTED FROM ITS TRADES AND POSITIONS"),
    )
    lines += [kept] if kept else []
    lines += [f"events are missing: {one.signature}: {printable(one.reason)}" for one in report.incomplete]
    count = len(report.differences) + len(report.kept)
    verdict = f"{count} difference{'' if count == 1 else 's'}"
    lines.append(
        f"{verdict} in {report.markets} markets and {report.positions} positions, slot {report.slot}"
    )
    return "\n".join(lines)


def _row(difference: Difference) -> tuple[str, ...]:
    return (
        difference.market or "protocol",
        difference.wallet or "-",
        difference.field,
        _value(difference.indexed),
        _value(difference.on_chain),
    )


def _value(value: Value) -> str:
    return "-" if value is None else str(value)


def _repair_text(repaired: RepairReport) -> str:
    done = repaired.done
    summary = (
        f"{done.transactions} transactions fetched, {done.written} events written, {done.removed} taken away"
    )
    corrected = (f"corrected from its account: {address}" for address in repaired.corrected)
    failed = (f"not resynced: {one.market}: {printable(str(one.error))}" for one in repaired.failed)
    lines = (summary, *_not_found(done.not_found), *_parked(done.parked), *failed, *corrected)
    return "\n".join((*lines, _audit_text(repaired.report)))


def _replay_text(report: ReplayReport) -> str:
    rows = (
        ("equal" if one.ok else "DIFFERS", one.table, one.indexed[:_SHORT_HASH], one.replayed[:_SHORT_HASH])
        for one in report.tables
    )
    tables = table(rows, header=("", "TABLE", "INDEX", "REPLAY"))
    return f"{tables}\n{report.transactions} transactions replayed"


def _backfill_text(done: BackfillReport) -> str:
    summary = (
        f"{done.transactions} transactions, {done.applied} of them missing, {done.new_events} new events"
    )
    return "\n".join((summary, *_not_found(done.not_found), *_parked(done.parked)))


def _quarantine_text(done: QuarantineReport) -> str:
    summary = f"{done.applied} quarantined lines applied, {done.remaining} cannot be read yet"
    return "\n".join((summary, *_not_found(done.not_found)))


def _parked(unapplied: Sequence[Unapplied]) -> list[str]:
    """A line for each transaction that could not be read or applied."""
    return [f"parked: {one.signature}: {printable(one.detail)}" for one in unapplied]


def _not_found(signatures: Sequence[str]) -> list[str]:
    """A line for each transaction that the RPC node did not give."""
    return [f"not found: {signature}" for signature in signatures]
