"""The task that deletes what nobody needs any more: messages of streams, and whatever else expires."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Final

from zmartd.metrics import Counter
from zmartd.store import leaderboard
from zmartd.store.retention import ExpiringRows, expiring_rows
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

DELETED: Final = Counter(
    "zmartd_retention_deleted_rows", "Rows that were deleted because they were kept long enough.", ["table"]
)
RUN_SECONDS: Final = 45.0
"""After this time, or half of its time limit, a run begins with no other bite; the next run goes on."""
MOST_PENDING: Final = 10_000
"""Changes of standings that may wait for a leaderboard; more are added up here, as where none is computed."""


class StreamRetention:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key.

    Each bite is a transaction, after which it pauses for as long as that took. The tables take turns, so that
    none waits for another one from which much is to go.
    """

    name = "stream_retention"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.stream_retention
        self.enabled = settings.enabled
        self.schedule = settings.schedule
        self._run_seconds = min(RUN_SECONDS, settings.time_limit_seconds / 2)
        self._rows = expiring_rows(
            retention=context.retention,
            transactions=context.transactions,
            markets=context.markets,
            realtime=context.realtime,
            alerts=context.alerts,
        )
        self._database = context.database
        self._clock = context.clock
        for one in self._rows:
            DELETED.labels(one.table)

    async def run(self) -> list[TaskAction]:
        """Raises DatabaseUnavailable, DatabaseTimeout."""
        begun, deleted, left = self._clock.monotonic(), Tally[str](), self._rows
        while left and self._clock.monotonic() - begun < self._run_seconds:
            left = tuple([one for one in left if await self._bite(one, deleted)])
        async with self._database.service() as connection:
            folded = await leaderboard.fold_pending(connection, MOST_PENDING)
        actions = []
        if deleted:
            detail = ", ".join(f"{number} of {table}" for table, number in deleted.items())
            actions.append(TaskAction(None, "delete", ok=True, detail=detail, routine=True))
        if folded:
            detail = f"{folded} changes of standings, which no leaderboard has added"
            actions.append(TaskAction(None, "add_up", ok=True, detail=detail, routine=True))
        return actions

    async def _bite(self, rows: ExpiringRows, deleted: Tally[str]) -> bool:
        """Delete some of `rows` and count them in `deleted`; whether there may be more."""
        begun = self._clock.monotonic()
        async with self._database.service() as connection:
            number = await rows.delete(connection)
        if number:
            DELETED.labels(rows.table).inc(number)
            deleted[rows.table] += number
        if number < rows.bite:
            return False
        await self._clock.sleep(self._clock.monotonic() - begun)
        return True
