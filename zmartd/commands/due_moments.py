"""What `zmartd tasks` says of markets that will be due, for which tasks run beside their schedules."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from zmartd.config import Settings
    from zmartd.store.postgres.reader import Reads

SHOWN: Final = 10


class Due(Struct, frozen=True):
    """When a market is due for what a task does."""

    at: datetime
    """By the chain's clock."""
    what: str
    market_id: str


class Upcoming(Struct, frozen=True):
    """The next due moments by task, and the chain's time."""

    now: datetime
    by_task: dict[str, list[Due]]


async def upcoming(connection: Reads, settings: Settings) -> Upcoming:
    """The next moments that time brings; votes and requests for disputes are not counted.

    The chain's time is that of the last pulse and what has passed since; without one, Postgres's.
    """
    from zmartd.store import due_moments, pulses, task_ledger
    from zmartd.tasks.due_watch import rules_of

    now = await pulses.chain_now(connection) or await task_ledger.now(connection)
    found = await due_moments.look(
        connection,
        (due_moments.MONITOR, due_moments.AGGREGATOR),
        rules_of(settings.tasks.market_monitor, settings.voting),
        now=now,
        until=task_ledger.FOREVER,
        horizon=None,
        limit=SHOWN,
    )
    by_task: dict[str, list[Due]] = {}
    for one in found.moments:
        by_task.setdefault(one.task, []).append(Due(one.due_at, one.what, one.market_id))
    return Upcoming(now, by_task)
