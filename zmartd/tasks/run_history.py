"""What runs did, kept in the database: a daemon that never gets the lock can still tell what others do."""

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
    """Keeps the runs that did something or failed; the others would bury them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, report: RunReport) -> None:
        """Never raises: a run that is over must not fail for want of a record."""
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
