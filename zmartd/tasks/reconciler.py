"""The task that finds what no webhook brought: the program's history against the index."""

from __future__ import annotations

from zmartd.indexer.reconcile import Reconciler as HistoryWalk
from zmartd.tasks.base import Action
from zmartd.tasks.context import TaskContext


class Reconciler:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "reconciler"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.reconciler
        self.enabled = settings.enabled
        self.interval_seconds = settings.interval_seconds
        self._walk = HistoryWalk(context.rpc, context.fetcher, context.database, context.program.program_id)

    async def run(self) -> list[Action]:
        """Raises RpcUnavailable, DatabaseUnavailable."""
        walked = await self._walk.run()
        if not walked.missing:
            return []
        detail = (
            f"{walked.missing} of {walked.signatures} transactions were missing, "
            f"with {walked.new_events} new events"
        )
        return [Action(None, "repair", ok=True, detail=detail)]
