"""One run of one task: held, timed, counted, logged, and always reported."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

import asyncpg
import msgspec
from structlog.contextvars import bound_contextvars

from zmartd.cancellation import cancel_all, is_being_cancelled
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.metrics import Counter, Histogram
from zmartd.store.task_ledger import Held
from zmartd.tasks.actions import bounded
from zmartd.tasks.base import PeriodicTask, RunReport, TaskAction, TaskSkipped
from zmartd.tasks.failure_log import FailureLog
from zmartd.tasks.leases import Lease, Leases
from zmartd.tasks.ledger import TaskLedger

log = get_logger(__name__)

RUN_SECONDS = Histogram(
    "zmartd_task_run_seconds",
    "How long a run of a periodic task took.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300),
)
RUNS = Counter("zmartd_task_runs", "Runs of periodic tasks by how they ended.", ["task", "outcome"])
ACTIONS = Counter("zmartd_task_actions", "What periodic tasks did to markets.", ["task", "action", "ok"])
START_DELAY = Histogram(
    "zmartd_task_start_delay_seconds",
    "How long after its instant a run of a periodic task began.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 3, 5, 10, 60, 600),
)

LOST = Counter(
    "zmartd_task_leases_lost",
    "Runs that were stopped here because their lease could not be renewed.",
    ["task"],
)

_VARYING: Final = re.compile(r"\w{20,}|\d+")
"""What differs in the details of the same failure: addresses, signatures, numbers."""

CHECK_SECONDS: Final = 0.1
"""How often a run's lease and time are looked at."""
CANCEL_SECONDS: Final = 5.0
"""How long a run may take to end after it was cancelled; then it is left alone."""
RETRY_SECONDS: Final = 0.2
MOST_ATTEMPTS: Final = 5
"""A run that is begun for so many times ends as failed where the node refuses it once more."""


class LeaseLost(ZmartdError):
    """The run's lease could not be renewed, so it was stopped here; another daemon goes on with it."""

    code = "lease_lost"


class TimeLimitExceeded(ZmartdError):
    """The run took longer than its task may take."""

    code = "time_limit_exceeded"


class TaskRunner:
    """Runs tasks whose run this daemon holds. `run` raises nothing but its own cancellation."""

    def __init__(self, ledger: TaskLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._leases = Leases(ledger, clock)
        self._failures = FailureLog(clock.monotonic)
        self._clock = clock

    async def run(
        self,
        task: PeriodicTask,
        held: Held,
        asked_at: float,
        due_at: datetime | None = None,
        *,
        by_hand: bool = False,
    ) -> RunReport:
        """Run the task, and record the run. Give it back where this is cancelled, and where this daemon's RPC
        node refuses what the task needs, unless it is `by_hand` or was begun MOST_ATTEMPTS times.

        `asked_at` is when Postgres was asked for the run, by the monotonic clock.
        """
        started = self._clock.monotonic()
        lease = self._leases.hold(held, asked_at)
        actions: tuple[TaskAction, ...] = ()
        skipped = failure = None
        gives_back = False
        try:
            with bound_contextvars(task=task.name, fencing_token=held.fencing_token):
                work = asyncio.create_task(task.run(), name=f"task {task.name}")
            actions = _checked(await self._watched(work, lease, task.schedule.time_limit_seconds))
        except TaskSkipped as error:
            skipped = error.message
        except LeaseLost as error:
            failure = error.message
            LOST.labels(task.name).inc()
            log.warning("task.lease_lost", task=task.name, fencing_token=held.fencing_token)
        except ZmartdError as error:
            failure = error.message
            gives_back = (
                isinstance(error, RpcUnavailable | RpcRejected)
                and not by_hand
                and held.attempt < MOST_ATTEMPTS
            )
            if gives_back:
                log.warning("task.given_back", task=task.name, attempt=held.attempt, reason=failure)
            else:
                self._failures.raised("task.failed", task.name, error, task=task.name, code=error.code)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                log.info("task.cancelled", task=task.name)
                self._leases.drop(lease)
                await self._give_back(held)
                raise
            failure = "the task cancelled itself"
            self._failures.raised("task.failed", task.name, error, task=task.name)
        except Exception as error:
            # Another library's message may quote a URL with a key in it, so only the log gets it.
            failure = f"{type(error).__name__}; the log has the traceback"
            self._failures.raised("task.failed", task.name, error, task=task.name)

        elapsed_seconds = self._clock.monotonic() - started
        report = RunReport(
            task=task.name,
            started_at=held.started_at,
            finished_at=held.started_at + timedelta(seconds=elapsed_seconds),
            actions=actions,
            skipped=skipped,
            failure=failure,
            fencing_token=held.fencing_token,
            given_back=gives_back,
        )
        try:
            if due_at is not None:
                START_DELAY.labels(task.name).observe((held.started_at - due_at).total_seconds())
            self._observe(report, elapsed_seconds)
            if gives_back:
                await self._give_back(held, failure)
            else:
                await self._record(lease, report)
        finally:
            self._leases.drop(lease)
        return report

    async def _watched(
        self, work: asyncio.Task[Sequence[TaskAction]], lease: Lease, limit_seconds: float
    ) -> Sequence[TaskAction]:
        """The result of `work`. Raises LeaseLost and TimeLimitExceeded, after it was cancelled."""
        stop_at = self._clock.monotonic() + limit_seconds
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=CHECK_SECONDS)
                if work.done():
                    break
                if lease.lost or self._clock.monotonic() >= lease.valid_until:
                    raise LeaseLost
                if self._clock.monotonic() >= stop_at:
                    raise TimeLimitExceeded(f"it took longer than its time limit of {limit_seconds:g} s")
            return work.result()
        finally:
            await _ended(work)

    async def _record(self, lease: Lease, report: RunReport) -> None:
        """Record the run, for which the database is tried again as long as the lease is renewed."""
        if report.failure == LeaseLost().message:
            return
        while True:
            try:
                is_recorded = await self._ledger.finish(lease.held, report)
            except ZmartdError as error:
                reason = error.message
            except (asyncpg.DataError, TypeError, ValueError) as error:
                # It is the same each time: a NUL in a text, which JSON in Postgres cannot hold, for one.
                log.exception("task.report_refused", task=report.task)
                reason = f"{type(error).__name__}: its report cannot be kept; the log has its actions"
                report = msgspec.structs.replace(report, actions=(), skipped=None, failure=reason)
            except Exception as error:
                reason = repr(error)
            else:
                if not is_recorded:
                    log.warning("task.run_taken_over", task=report.task, fencing_token=report.fencing_token)
                return
            if lease.lost or self._clock.monotonic() >= lease.valid_until:
                log.warning("task.run_not_recorded", task=report.task, reason=reason)
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _give_back(self, held: Held, because: str | None = None) -> None:
        """Never raises: the lease ends by itself."""
        try:
            await self._ledger.give_back(held, because)
        except ZmartdError as error:
            log.warning("task.run_not_given_back", reason=error.message)
        except Exception:
            log.exception("task.run_not_given_back")

    def _observe(self, report: RunReport, elapsed_seconds: float) -> None:
        outcome = "given_back" if report.given_back else "failed" if report.failure else None
        outcome = outcome or ("skipped" if report.skipped else "done")
        RUNS.labels(report.task, outcome).inc()
        RUN_SECONDS.labels(report.task).observe(elapsed_seconds)
        for action in report.actions:
            ACTIONS.labels(report.task, action.action, str(action.ok).lower()).inc(action.times)
            self._log_action(report.task, action)
        log.info(
            "task.run",
            task=report.task,
            outcome=outcome,
            actions=sum(action.times for action in report.actions),
            seconds=round(elapsed_seconds, 3),
            skipped=report.skipped,
            fencing_token=report.fencing_token,
        )

    def _log_action(self, task: str, action: TaskAction) -> None:
        name, subject = f"task.{action.action}", f"{task} {action.market_id}"
        fields = {
            "task": task,
            "market_id": action.market_id,
            "ok": action.ok,
            "signature": action.signature,
            "detail": action.detail,
        }
        if action.failed:
            self._failures.reported(name, subject, _VARYING.sub("", str(action.detail)), **fields)
        else:
            log.info(name, **fields)


def _checked(actions: Iterable[object]) -> tuple[TaskAction, ...]:
    """What a report keeps of these actions.

    Checks what PeriodicTask declares, since no type checker may have seen a plugin. Raises TypeError.
    """
    found = tuple(actions)
    for action in found:
        if not isinstance(action, TaskAction):
            raise TypeError("`run` must return TaskActions")
    return bounded(cast(tuple[TaskAction, ...], found))


async def _ended(work: asyncio.Task[Any]) -> None:
    """Cancel `work` until it has ended."""
    await cancel_all([work], CHECK_SECONDS, round(CANCEL_SECONDS / CHECK_SECONDS))
    if not work.done():
        log.error("task.does_not_end", work=work.get_name())
    elif not work.cancelled():
        work.exception()  # asyncio reports one that nobody looks at
