"""The task that works the leaderboard out again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from zmartd.market.iso_time import iso_time
from zmartd.store import leaderboard
from zmartd.tasks.base import Action
from zmartd.tasks.context import TaskContext

STALE_AFTER: Final = timedelta(minutes=5)
"""Periods that go back from now move on with it, also when nobody trades."""


class Leaderboard:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "leaderboard"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.leaderboard
        self.enabled = settings.enabled
        self.interval_seconds = settings.interval_seconds
        self._database = context.database
        self._rpc = context.rpc

    async def run(self) -> list[Action]:
        """Raises RpcUnavailable, DatabaseUnavailable, DatabaseTimeout."""
        now = datetime.fromtimestamp((await self._rpc.chain_time()).unix_timestamp, UTC)
        async with self._database.service() as connection:
            edition = await leaderboard.publish(connection, now, STALE_AFTER)
        if edition is None:
            return []
        return [
            Action(None, "publish", ok=True, detail=f"edition {edition.id} as of {iso_time(edition.as_of)}")
        ]
