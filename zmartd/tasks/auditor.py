"""The task that compares the index with the chain's accounts all the time, a part of it in each run."""

from __future__ import annotations

from typing import Final

from zmartd.indexer.audit.continuous import AuditLimits, ContinuousAudit, PassReport
from zmartd.metrics import Counter
from zmartd.store.market_audits import Audited
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

ACCOUNTS: Final = Counter("zmartd_audit_accounts", "Accounts that the auditor compared with the index.")
_MOST_NAMED = 10


class Auditor:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key, and changes nothing in the index."""

    name = "auditor"

    def __init__(self, context: TaskContext) -> None:
        settings = context.settings.auditor
        self.enabled = settings.enabled
        self.schedule = settings.schedule
        self._audit = ContinuousAudit(
            context.database,
            context.rpc,
            context.program.program_id,
            AuditLimits(
                accounts_per_second=settings.accounts_per_second,
                pass_seconds=settings.pass_seconds,
                everything_seconds=settings.everything_seconds,
            ),
            context.clock,
        )

    async def run(self) -> list[TaskAction]:
        """Raises RpcUnavailable, RpcRejected, DatabaseUnavailable and the like."""
        report = await self._audit.run()
        ACCOUNTS.inc(report.accounts)
        actions = [_action(one) for one in report.found[:_MOST_NAMED]]
        if len(report.found) > _MOST_NAMED:
            detail = f"{len(report.found) - _MOST_NAMED} more: `zmartd audit` lists what differs"
            actions.append(TaskAction(None, "audit", ok=False, detail=detail))
        return [*actions, _summary(report)]


def _action(found: Audited) -> TaskAction:
    if found.failure is not None:
        detail = f"{found.address} could not be compared: {found.failure}"
    else:
        detail = (
            f"{found.address} differs from the chain in {found.differences} values "
            f"({', '.join(found.differing)}): `zmartd audit --repair` mends it"
        )
    return TaskAction(None, "audit", ok=False, detail=detail)


def _summary(report: PassReport) -> TaskAction:
    total = report.total
    detail = (
        f"slot {total.slot}: {report.compared} markets with {report.accounts} accounts compared; "
        f"{total.differences} differences in {total.markets} markets and {total.accounts} accounts"
    )
    return TaskAction(None, "compare", ok=True, detail=detail, routine=True)
