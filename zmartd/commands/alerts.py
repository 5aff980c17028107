"""`zmartd alerts`: what operators were alerted of, acknowledging it, and a test of the receivers."""

from __future__ import annotations

import getpass
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from msgspec import Struct

from zmartd.commands.groups import ListByDefault
from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, table
from zmartd.commands.parameters import reason_of
from zmartd.commands.running import run, run_with_database
from zmartd.market.iso_time import iso_time, iso_time_or_none

if TYPE_CHECKING:
    from asyncpg import Connection

    from zmartd.config import Settings
    from zmartd.store.alerts import Alert

_MOST_LISTED: Final = 100
_MAX_REASON: Final = 500


class Receipt(Struct, frozen=True):
    """What became of a test message."""

    receiver: str
    ok: bool
    answer: str


@click.group(cls=ListByDefault)
def alerts() -> None:
    """List what operators were alerted of, acknowledge it, and try the receivers."""


@alerts.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only those that are open.")
@config_option
@json_option
def list_alerts(only_open: bool, config_path: Path | None, as_json: bool) -> None:
    """Print the newest hundred alerts, the newest first, with who was told and what to know."""

    async def read(connection: Connection) -> Sequence[Alert]:
        from zmartd.store import alerts as store

        return (await store.page(connection, "open" if only_open else "all", _MOST_LISTED)).rows

    found = run_with_database(operator_settings(config_path), read)
    print_result(as_json, found, _for_people(found) or "nothing is wrong")


@alerts.command("ack")
@click.argument("number", metavar="ID", type=click.IntRange(0, 10**18 - 1))
@click.option("--because", metavar="TEXT", required=True, help="The reason, which other operators read.")
@config_option
@json_option
def acknowledge(number: int, because: str, config_path: Path | None, as_json: bool) -> None:
    """Acknowledge the alert ID: nobody is reminded of it any more. It is still told when it is over."""
    reason = reason_of(because, _MAX_REASON)
    by = f"{getpass.getuser()}@{socket.gethostname()}"

    async def write(connection: Connection) -> Alert:
        from zmartd.store import alerts as store

        return await store.acknowledge(connection, number, by, reason)

    alert = run_with_database(operator_settings(config_path), write)
    print_result(as_json, alert, f"{number} is {_state(alert)}")


@alerts.command("test")
@config_option
@json_option
def test(config_path: Path | None, as_json: bool) -> None:
    """Send a test message to each receiver of this configuration, and print what it answered.

    The exit status is 1 where it did not arrive.
    """
    settings = operator_settings(config_path)
    receipts = run(lambda: _try_receivers(settings))
    rows = ((one.receiver, "ok" if one.ok else "FAIL", one.answer) for one in receipts)
    print_result(as_json, receipts, table(rows))
    sys.exit(0 if all(one.ok for one in receipts) else 1)


async def _try_receivers(settings: Settings) -> list[Receipt]:
    import asyncio

    from zmartd.alerts.messages import encoded, new_id, test_message
    from zmartd.alerts.receivers import NotDelivered, Receivers
    from zmartd.clock import SystemClock

    receivers = Receivers(settings.alerts, SystemClock())
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    body, message_id = encoded(test_message(datetime.now(UTC), by)), new_id()

    async def tell(name: str) -> Receipt:
        try:
            return Receipt(name, ok=True, answer=await receivers.tell(name, message_id, body))
        except NotDelivered as error:
            return Receipt(name, ok=False, answer=error.message)

    try:
        return list(await asyncio.gather(*map(tell, receivers.names)))
    finally:
        await receivers.close()


def _for_people(found: Sequence[Alert]) -> str:
    rows = (
        (
            str(one.id),
            one.severity,
            f"{one.rule} {one.subject}".strip(),
            iso_time(one.first_seen),
            _state(one),
            str(one.count),
            iso_time_or_none(one.last_delivered_at) or "nobody",
            one.summary,
        )
        for one in found
    )
    header = ("ID", "SEVERITY", "RULE", "SINCE", "STATE", "COUNT", "TOLD", "SUMMARY")
    return table(rows, header=header, right={0, 5})


def _state(alert: Alert) -> str:
    if alert.resolved_at is not None:
        return f"resolved {iso_time(alert.resolved_at)}"
    if alert.acknowledged_at is not None:
        return f"acknowledged by {alert.acknowledged_by}: {alert.acknowledged_because}"
    return "open"
