"""The task that indexes transactions that no webhook delivered, and removes those of abandoned forks."""

from __future__ import annotations

from zmartd.indexer.reconcile.reconciler import IndexReconciler
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

_MOST_NAMED = 10


class Reconciler:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "reconciler"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.reconciler
        self.enabled = settings.enabled
        self.schedule = settings.schedule
        self._reconciler = IndexReconciler(
            context.rpc,
            context.fetcher,
            context.database,
            context.program.program_id,
            settings.max_fetched_per_run,
        )

    async def run(self) -> list[TaskAction]:
        """Raises RpcUnavailable, DatabaseUnavailable."""
        report = await self._reconciler.run()
        actions: list[TaskAction] = []
        if report.missing:
            detail = (
                f"{report.missing} of {report.signatures} transactions were missing, "
                f"with {report.new_events} new events"
            )
            actions.append(TaskAction(None, "apply_missing", ok=True, detail=detail))
        if report.rolled_back:
            detail = f"{report.rolled_back} transactions are not on the chain, and were rolled back"
            actions.append(TaskAction(None, "roll_back", ok=True, detail=detail))
        if report.recovered:
            detail = f"{report.recovered} transactions with truncated logs were completed"
            actions.append(TaskAction(None, "recover", ok=True, detail=detail))
        for one in report.incomplete[:_MOST_NAMED]:
            detail = f"{one.reason}: `zmartd audit --repair` reads the accounts instead"
            actions.append(TaskAction(None, "recover", ok=False, detail=detail, signature=one.signature))
        if len(report.incomplete) > _MOST_NAMED:
            detail = (
                f"{len(report.incomplete) - _MOST_NAMED} more transactions have events that are not known"
            )
            actions.append(TaskAction(None, "recover", ok=False, detail=detail))
        if report.parked:
            detail = f"{report.parked} transactions could not be read or applied: see `zmartd inbox parked`"
            actions.append(TaskAction(None, "park", ok=False, detail=detail, awaits_admin=True))
        return actions
