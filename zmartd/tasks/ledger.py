"""The ledger of one daemon's tasks: which instants are due, and which of them this daemon has.

There is no leader. A daemon that moves a task's next instant on from the one it saw has it, because Postgres
lets one daemon do so; the row of the run is inserted by the same statement. The daemon holds the run with a
fencing token, for as long as it renews a lease. When the lease ends any other daemon goes on with the run.

Postgres's clock decides. A daemon estimates it from its own monotonic clock, so that its wall clock does not
matter, and asks again whenever it acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.market.iso_time import iso_time
from zmartd.metrics import Counter
from zmartd.schedule import Schedule, Timing, read_timing
from zmartd.store import due_moments, task_ledger
from zmartd.store.due_moments import DueMoment
from zmartd.store.postgres.database import Database
from zmartd.store.task_ledger import Held, Running, TaskState
from zmartd.tasks.base import RunReport
from zmartd.tasks.due import plan

log = get_logger(__name__)

COVERED = Counter(
    "zmartd_task_instants_not_run",
    "Instants of periodic tasks that this daemon did not run, by the reason.",
    ["task", "reason"],
)

LEASE_SECONDS: Final = 2.0
"""A daemon that does not renew its lease for this long is taken for dead."""
MAX_DEATHS: Final = 5
"""After so many daemons have ended in the middle of a run it is given up: it may be what ends them."""
_MAX_STEPS: Final = 1_000
"""A million instants of a cron expression, which are a thousand at a time."""


class TaskRuns(ZmartdError):
    """Another run of this task goes on."""

    code = "task_runs"


class Entered(Struct, frozen=True):
    """A task as this daemon has it."""

    name: str
    schedule: Schedule
    enabled: bool


class Advance(Struct, frozen=True):
    """How far a task has come: its state, and the run that this daemon has begun, with its instant."""

    state: TaskState
    held: Held | None = None
    run_at: datetime | None = None
    asked_at: float = 0.0
    """When Postgres was asked for the run, by the monotonic clock."""


class TaskLedger:
    """What one daemon reads from the ledger and writes to it.

    `daemon` names it to operators. Everything raises DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
    """

    def __init__(
        self, database: Database, daemon: str, clock: Clock, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.lease_seconds = lease_seconds
        self._database = database
        self._daemon = daemon
        self._clock = clock
        self._observed: tuple[datetime, float] = (datetime.min.replace(tzinfo=UTC), 0.0)

    def time(self) -> datetime:
        """Postgres's time, by the newest look at it and the monotonic clock; never later than it is there."""
        then, seen_at = self._observed
        return then + timedelta(seconds=self._clock.monotonic() - seen_at)

    async def enter(self, tasks: Iterable[Entered]) -> None:
        """Enter tasks that the ledger does not know.

        One that it knows with another schedule gets this one, unless it is disabled here: the daemon that was
        started last decides for all of them.
        """
        async with self._database.service_reader() as connection:
            now = await task_ledger.now(connection)
            for task in tasks:
                timing = task.schedule.timing
                await task_ledger.register(
                    connection,
                    task.name,
                    timing.text,
                    timing.first(now),
                    timing.next_after(now),
                    decides=task.enabled,
                )

    async def look(self, tasks: Sequence[str]) -> dict[str, TaskState]:
        """How it is with tasks, in one statement, by name."""
        async with self._database.service_reader() as connection:
            states = await task_ledger.states(connection, tasks)
        if states:
            self._observed = (next(iter(states.values())).now, self._clock.monotonic())
        return states

    async def advance(self, task: Entered) -> Advance | None:
        """Do what is to be done about the task's instants that have come, and begin a run if one is due.

        None where the ledger does not have the task.
        """
        state: TaskState | None = None
        for _ in range(_MAX_STEPS):
            state = (await self.look([task.name])).get(task.name)
            if state is None:
                return None
            step = plan(state, timing_of(state, task.schedule), task.schedule.catch_up, enabled=task.enabled)
            if step is None:
                return Advance(state)
            asked_at = self._clock.monotonic()
            try:
                async with self._database.service_reader() as connection:
                    moved, held = await task_ledger.advance(
                        connection,
                        state,
                        step.next_due_at,
                        step.covers,
                        run_at=step.run_at,
                        daemon=self._daemon,
                        lease_seconds=self.lease_seconds,
                        answers_prompt=step.answers_prompt,
                        prompted_because=step.prompted_because,
                    )
            except asyncpg.UniqueViolationError:
                continue  # a run by hand has begun since
            if moved:
                for cover in step.covers:
                    COVERED.labels(task.name, cover.reason or cover.status).inc(cover.instants)
            if held is not None:
                state = msgspec.structs.replace(
                    state,
                    next_due_at=step.next_due_at,
                    prompt=None if step.answers_prompt else state.prompt,
                    run=None,
                )
                return Advance(state, held, step.run_at, asked_at)
            if not moved:
                log.debug("task.instant_taken", task=task.name, due_at=iso_time(state.next_due_at))
        return None if state is None else Advance(state)

    async def prompt(self, moments: Sequence[DueMoment]) -> bool:
        """Let markets that are due prompt runs of their tasks. Whether any task has a prompt now."""
        async with self._database.service_reader() as connection:
            return bool(await due_moments.prompt(connection, [(one, in_words(one)) for one in moments]))

    async def take_over(self, task: str, run: Running) -> Held | None:
        """Go on with a run whose daemon is gone; None where nobody is to go on with it.

        A run by hand is not repeated, and neither is one in which MAX_DEATHS daemons have ended.
        """
        async with self._database.service_reader() as connection:
            if run.due_at is None:
                await task_ledger.abandon(connection, run, f"{run.daemon} ended in the middle of it")
                return None
            deaths = run.deaths + (run.lease_until is not None)
            if deaths >= MAX_DEATHS:
                explanation = f"given up: {deaths} daemons ended in the middle of it, the last {run.daemon}"
                if await task_ledger.abandon(connection, run, explanation):
                    log.error("task.run_given_up", task=task, deaths=deaths, daemon=run.daemon)
                return None
            return await task_ledger.take_over(connection, run, self._daemon, self.lease_seconds)

    async def begin_by_hand(self, task: str) -> Held:
        """Begin a run at no instant. Raises TaskRuns, with the daemon, while another one goes on."""
        async with self._database.service_reader() as connection:
            while True:
                held = await task_ledger.begin_by_hand(connection, task, self._daemon, self.lease_seconds)
                if held is not None:
                    return held
                found = await task_ledger.running(connection, task)
                if found is None:
                    continue
                run, now = found
                if run.is_held(now):
                    raise TaskRuns(f"{task} is already running on {run.daemon}")
                await task_ledger.abandon(
                    connection, run, f"{run.daemon} ended in the middle of it; a run by hand followed"
                )

    async def renew(self, held: Sequence[Held]) -> set[int]:
        """Renew the leases of runs, in one statement. Gives the ids of those that this daemon still has."""
        async with self._database.service_reader() as connection:
            return await task_ledger.renew(connection, held, self.lease_seconds)

    async def give_back(self, held: Held, because: str | None = None) -> None:
        """Let another daemon go on with a run at once."""
        explanation = None if because is None else f"{self._daemon} gave it back: {because}"
        async with self._database.service_reader() as connection:
            await task_ledger.give_back(connection, held, explanation)

    async def finish(self, held: Held, report: RunReport) -> bool:
        """Record a run. False where another daemon has it by now, and goes on with it."""
        async with self._database.service_reader() as connection:
            return await task_ledger.finish(
                connection,
                held,
                "failed" if report.failed else "skipped" if report.skipped else "ok",
                report,
                report.failure or report.skipped,
                eventful=bool(report.failure) or not all(action.routine for action in report.actions),
            )


def in_words(moment: DueMoment) -> str:
    """What operators read of a moment that has prompted a run."""
    what = moment.what
    if moment.kind in ("approval", "petition"):
        return f"due: {what} of market {moment.market_id}"
    return f"due: {what} of market {moment.market_id} at {iso_time(moment.due_at)} by the chain's clock"


def timing_of(state: TaskState, schedule: Schedule) -> Timing:
    """When the task is due, as the ledger says; as this daemon says where it cannot read that."""
    if state.schedule == schedule.timing.text:
        return schedule.timing
    try:
        return read_timing(state.schedule)
    except ValueError:
        log.warning("task.schedule_unreadable", task=state.task, schedule=state.schedule)
        return schedule.timing
