"""The task that deletes messages of streams from which nobody can resume any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from zmartd.store import streams
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

BATCH: Final = 2_000
"""Messages deleted in one transaction, so that none takes long."""
MAX_BATCHES: Final = 100
"""Batches of one run; the next run goes on."""


class StreamRetention:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "stream_retention"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.stream_retention
        self.enabled = settings.enabled
        self.schedule = settings.schedule
        self._keep = timedelta(seconds=context.realtime.history_seconds)
        self._database = context.database

    async def run(self) -> list[TaskAction]:
        """Raises DatabaseUnavailable, DatabaseTimeout."""
        deleted = 0
        for _ in range(MAX_BATCHES):
            async with self._database.service() as connection:
                batch = await streams.purge(connection, self._keep, BATCH)
            deleted += batch
            if batch < BATCH:
                break
        return [TaskAction(None, "purge", ok=True, detail=f"{deleted} messages")] if deleted else []
