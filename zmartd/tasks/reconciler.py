"""The task that indexes transactions that no webhook delivered, and removes those of abandoned forks."""

from __future__ import annotations

from zmartd.indexer.reconcile.reconciler import Reconciler as ChainComparison
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext


class Reconciler:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "reconciler"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.reconciler
        self.enabled = settings.enabled
        self.interval_seconds = settings.interval_seconds
        self._comparison = ChainComparison(
            context.rpc,
            context.fetcher,
            context.database,
            context.program.program_id,
            settings.max_fetched_per_run,
        )

    async def run(self) -> list[TaskAction]:
        """Raises RpcUnavailable, DatabaseUnavailable."""
        walked = await self._comparison.run()
        actions: list[TaskAction] = []
        if walked.missing:
            detail = (
                f"{walked.missing} of {walked.signatures} transactions were missing, "
                f"with {walked.new_events} new events"
            )
            actions.append(TaskAction(None, "repair", ok=True, detail=detail))
        if walked.undone:
            detail = f"{walked.undone} transactions are not so on the chain, and were taken back"
            actions.append(TaskAction(None, "undo", ok=True, detail=detail))
        if walked.restored:
            detail = f"{walked.restored} transactions with truncated logs are whole"
            actions.append(TaskAction(None, "restore", ok=True, detail=detail))
        return actions
