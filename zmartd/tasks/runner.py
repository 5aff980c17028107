"""One run of one task: under its lock, timed, counted, logged, and always reported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import Gauge
from structlog.contextvars import bound_contextvars

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.metrics import Counter, Histogram
from zmartd.tasks.base import PeriodicTask, RunReport, TaskAction, TaskSkipped
from zmartd.tasks.lock import LockBusy, TaskLock
from zmartd.tasks.run_history import RunHistory

log = get_logger(__name__)

RUN_SECONDS = Histogram(
    "zmartd_task_run_seconds",
    "How long a run of a periodic task took, its lock included.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300),
)
RUNS = Counter("zmartd_task_runs", "Runs of periodic tasks by how they ended.", ["task", "outcome"])
ACTIONS = Counter("zmartd_task_actions", "What periodic tasks did to markets.", ["task", "action", "ok"])
LAST_SUCCESS = Gauge(
    "zmartd_task_last_success_timestamp_seconds", "When a task last finished a run without failing.", ["task"]
)


class TaskRunner:
    """Runs tasks. `run` raises nothing but its own cancellation."""

    def __init__(self, lock: TaskLock, history: RunHistory, clock: Clock) -> None:
        self._lock = lock
        self._history = history
        self._clock = clock

    async def run(self, task: PeriodicTask) -> RunReport:
        started_at = self._clock.time()
        started = self._clock.monotonic()
        token: int | None = None
        actions: tuple[TaskAction, ...] = ()
        skipped = failure = None

        async def work(fencing_token: int) -> Sequence[TaskAction]:
            nonlocal token
            token = fencing_token
            with bound_contextvars(task=task.name, fencing_token=fencing_token):
                return await task.run()

        try:
            actions = tuple(await self._lock.run(task.name, work))
        except (LockBusy, TaskSkipped) as error:
            skipped = error.message
        except ZmartdError as error:
            failure = error.message
            log.exception("task.failed", task=task.name, code=error.code)
        except asyncio.CancelledError:
            if _is_being_cancelled():
                log.info("task.cancelled", task=task.name)
                raise
            failure = "the task cancelled itself"
            log.exception("task.failed", task=task.name)
        except Exception as error:
            # Another library's message may quote a URL with a key in it, so only the log gets it.
            failure = f"{type(error).__name__}; the log has the traceback"
            log.exception("task.failed", task=task.name)

        elapsed_seconds = self._clock.monotonic() - started
        report = RunReport(
            task=task.name,
            started_at=datetime.fromtimestamp(started_at, UTC),
            finished_at=datetime.fromtimestamp(started_at + elapsed_seconds, UTC),
            actions=actions,
            skipped=skipped,
            failure=failure,
            fencing_token=token,
        )
        _observe(report, elapsed_seconds)
        await self._history.record(report)
        return report


def _is_being_cancelled() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def _observe(report: RunReport, elapsed_seconds: float) -> None:
    outcome = "failed" if report.failure else "skipped" if report.skipped else "done"
    RUNS.labels(report.task, outcome).inc()
    RUN_SECONDS.labels(report.task).observe(elapsed_seconds)
    if outcome == "done":
        LAST_SUCCESS.labels(report.task).set(report.finished_at.timestamp())
    for action in report.actions:
        ACTIONS.labels(report.task, action.action, str(action.ok).lower()).inc()
        write = log.info if action.ok or action.awaits_admin else log.error
        write(
            f"task.{action.action}",
            task=report.task,
            market_id=action.market_id,
            ok=action.ok,
            signature=action.signature,
            detail=action.detail,
        )
    log.info(
        "task.run",
        task=report.task,
        outcome=outcome,
        actions=len(report.actions),
        seconds=round(elapsed_seconds, 3),
        skipped=report.skipped,
        fencing_token=report.fencing_token,
    )
