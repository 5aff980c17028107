"""The history of runs, kept in the database, where every daemon can read what the others did."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store import task_runs
from zmartd.store.postgres.database import Database
from zmartd.store.task_runs import TaskRun
from zmartd.tasks.base import RunReport

log = get_logger(__name__)

KEPT: Final = timedelta(days=30)


class RunHistory:
    """Records the runs that did something or failed; the many others are left out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, report: RunReport) -> None:
        """Record a run. Never raises: a finished run must not fail because it cannot be recorded."""
        if report.failure is None and not report.actions:
            return
        run = TaskRun(
            task=report.task,
            fencing_token=report.fencing_token,
            started_at=report.started_at,
            finished_at=report.finished_at,
            outcome="ok" if report.ok else "failed",
            report=msgspec.to_builtins(report),
        )
        try:
            async with self._database.service() as connection:
                await task_runs.record(connection, run)
                await task_runs.purge(connection, report.finished_at - KEPT)
        except ZmartdError as error:
            log.warning("task.run_not_kept", task=report.task, reason=error.message)
        except Exception:
            log.exception("task.run_not_kept", task=report.task)
