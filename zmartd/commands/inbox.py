"""`zmartd inbox`: webhook deliveries and transactions that need an operator."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zmartd.commands.groups import Group
from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, table
from zmartd.commands.running import run_with_core, run_with_database
from zmartd.market.iso_time import iso_time

if TYPE_CHECKING:
    from asyncpg import Connection

    from zmartd.core import Core
    from zmartd.indexer.retry import RetryReport
    from zmartd.store.inbox import ParkedDelivery
    from zmartd.store.parked import ParkedTransaction
    from zmartd.store.unverified import UnverifiedTransaction

_MOST_LISTED: Final = 1_000


@click.group(cls=Group)
def inbox() -> None:
    """List the webhook deliveries and transactions that were parked or not verified, or try parked ones
    again."""


@inbox.command("list")
@config_option
@json_option
def list_parked(config_path: Path | None, as_json: bool) -> None:
    """Print the parked deliveries, each with the error that parked it."""
    from zmartd.store import inbox as deliveries

    parked = run_with_database(
        operator_settings(config_path), lambda connection: deliveries.parked(connection, _MOST_LISTED)
    )
    print_result(as_json, parked, _parked_text(parked))


@inbox.command("unverified")
@config_option
@json_option
def list_unverified(config_path: Path | None, as_json: bool) -> None:
    """Print the delivered transactions that are not verified, each with the reason.

    The reconciler asks the RPC node for them, applies what it says, and gives up those that it does not know.
    """
    from zmartd.store import unverified

    transactions = run_with_database(
        operator_settings(config_path), lambda connection: unverified.listed(connection, _MOST_LISTED)
    )
    print_result(as_json, transactions, _unverified_text(transactions))


@inbox.command("parked")
@config_option
@json_option
def list_parked_transactions(config_path: Path | None, as_json: bool) -> None:
    """Print the transactions on the chain that could not be read or applied, each with the reason.

    The index goes on without them. The reconciler tries them again, ever less often.
    """
    transactions = run_with_database(operator_settings(config_path), _parked_transactions)
    print_result(as_json, transactions, _parked_transactions_text(transactions) or "nothing is parked")


@inbox.command("retry")
@click.argument("signatures", metavar="[SIGNATURE]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every parked transaction.")
@config_option
@json_option
def retry(signatures: tuple[str, ...], every: bool, config_path: Path | None, as_json: bool) -> None:
    """Fetch parked transactions again, and apply those that can be now.

    The exit status is 1 when one of them stays parked, or one of the SIGNATUREs is not parked.
    """
    from zmartd.indexer.retry import ParkedRetry

    if every == bool(signatures):
        raise click.UsageError("give the signatures of transactions, or --all")

    async def try_again(core: Core) -> tuple[RetryReport, tuple[ParkedTransaction, ...]]:
        retrying = ParkedRetry(core.rpc, core.fetcher, core.database, core.idl.program_id)
        report = await retrying.retry_now(None if every else signatures)
        async with core.database.service() as connection:
            return report, await _parked_transactions(connection)

    report, left = run_with_core(operator_settings(config_path), try_again)
    unknown = sorted(set(signatures) - {*report.applied, *report.gone, *report.parked})
    still = [one for one in left if one.signature in report.parked]
    text = [f"applied: {one}" for one in report.applied]
    text += [f"failed, or not on the chain any more: {one}" for one in report.gone]
    text += [f"not parked: {one}" for one in unknown]
    text += [_parked_transactions_text(still)] if still else []
    result = {"applied": report.applied, "gone": report.gone, "parked": still, "not_parked": unknown}
    print_result(as_json, result, "\n".join(text) or "nothing is parked")
    sys.exit(1 if report.parked or unknown else 0)


async def _parked_transactions(connection: Connection) -> tuple[ParkedTransaction, ...]:
    from zmartd.store import parked

    return await parked.listed(connection, _MOST_LISTED)


@inbox.command("replay")
@click.argument("deliveries", metavar="[ID]...", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="Every parked delivery.")
@config_option
@json_option
def replay(deliveries: tuple[int, ...], every: bool, config_path: Path | None, as_json: bool) -> None:
    """Put parked deliveries back in the queue; a running daemon processes them within seconds.

    The exit status is 1 when one of the IDs is not parked.
    """
    from zmartd.store import inbox as queue

    if every == bool(deliveries):
        raise click.UsageError("give the IDs of deliveries, or --all")
    queued = run_with_database(
        operator_settings(config_path),
        lambda connection: queue.replay_all(connection) if every else queue.replay(connection, deliveries),
    )
    unknown = sorted(set(deliveries) - set(queued))
    text = [f"queued again: {one}" for one in queued] + [f"not parked: {one}" for one in unknown]
    print_result(as_json, {"queued": queued, "not_parked": unknown}, "\n".join(text) or "nothing is parked")
    sys.exit(1 if unknown else 0)


def _parked_text(deliveries: Sequence[ParkedDelivery]) -> str:
    rows = (
        (
            str(one.id),
            str(one.transactions),
            str(one.attempts),
            iso_time(one.parked_at),
            one.error.splitlines()[0] if one.error else "",
        )
        for one in deliveries
    )
    header = ("ID", "TRANSACTIONS", "ATTEMPTS", "PARKED", "ERROR")
    return table(rows, header=header, right={0, 1, 2}) or "nothing is parked"


def _parked_transactions_text(transactions: Sequence[ParkedTransaction]) -> str:
    rows = (
        (
            one.signature,
            str(one.slot),
            one.reason,
            str(one.attempts),
            iso_time(one.parked_at),
            iso_time(one.next_attempt_at),
            one.detail.splitlines()[0] if one.detail else "",
        )
        for one in transactions
    )
    header = ("SIGNATURE", "SLOT", "REASON", "ATTEMPTS", "PARKED", "NEXT ATTEMPT", "DETAIL")
    return table(rows, header=header, right={1, 3})


def _unverified_text(transactions: Sequence[UnverifiedTransaction]) -> str:
    rows = (
        (
            one.signature,
            str(one.slot),
            str(one.attempts),
            iso_time(one.received_at),
            "waiting" if one.given_up_at is None else "given up",
            one.reason or one.doubt,
        )
        for one in transactions
    )
    header = ("SIGNATURE", "SLOT", "ATTEMPTS", "RECEIVED", "STATUS", "REASON")
    return table(rows, header=header, right={1, 2}) or "nothing is unverified"
