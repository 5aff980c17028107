"""The task that publishes a new edition of the leaderboard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from zmartd.market.iso_time import iso_time
from zmartd.store import leaderboard
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

STALE_AFTER: Final = timedelta(minutes=5)
"""A period that ends now moves with the time, also when nobody trades."""


class Leaderboard:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "leaderboard"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.leaderboard
        self.enabled = settings.enabled
        self.schedule = settings.schedule
        self._database = context.database
        self._rpc = context.rpc

    async def run(self) -> list[TaskAction]:
        """Raises RpcUnavailable, DatabaseUnavailable, DatabaseTimeout."""
        now = datetime.fromtimestamp((await self._rpc.chain_time()).unix_timestamp, UTC)
        async with self._database.service() as connection:
            edition = await leaderboard.publish(connection, now, STALE_AFTER)
        if edition is None:
            return []
        detail = f"edition {edition.id} as of {iso_time(edition.as_of)}"
        return [TaskAction(None, "publish", ok=True, detail=detail)]
