from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.manual_clock import ManualClock, eventually
from zmartd.store.postgres.database import Database
from zmartd.tasks.base import TaskAction, TaskSkipped
from zmartd.tasks.lock import TaskLock
from zmartd.tasks.plugins import BrokenPlugin
from zmartd.tasks.run_history import RunHistory
from zmartd.tasks.runner import TaskRunner
from zmartd.tasks.scheduler import Scheduler, UnknownTask


class Sweep:
    """A task that counts its runs and does in each what it was given."""

    interval_seconds = 60.0

    def __init__(
        self,
        work: Callable[[], Awaitable[Sequence[TaskAction]]],
        name: str = "sweep",
        enabled: bool = True,
    ) -> None:
        self.name = name
        self.enabled = enabled
        self.begun = 0
        self.ended = 0
        self._work = work

    async def run(self) -> Sequence[TaskAction]:
        self.begun += 1
        try:
            return await self._work()
        finally:
            self.ended += 1


async def nothing() -> Sequence[TaskAction]:
    return ()


async def crash() -> Sequence[TaskAction]:
    raise ConnectionError("postgresql://zmartd:hunter2@db refused")


async def cancel_itself() -> Sequence[TaskAction]:
    raise asyncio.CancelledError


@asynccontextmanager
async def running(
    clock: ManualClock, redis: Redis, database: Database, *tasks: Sweep, stop_seconds: float = 5.0
) -> AsyncIterator[Scheduler]:
    runner = TaskRunner(TaskLock(redis, "daemon-a", clock), RunHistory(database), clock)
    scheduler = Scheduler(tasks, runner, clock, random.Random(1), stop_seconds)
    await scheduler.start()
    await eventually(lambda: clock.sleeping == sum(task.enabled for task in tasks))
    try:
        yield scheduler
    finally:
        await scheduler.stop()


async def all_asleep(clock: ManualClock, *tasks: Sweep) -> None:
    """Every run has ended and every timer waits again."""
    await eventually(lambda: all(t.begun == t.ended for t in tasks) and clock.sleeping == len(tasks))


async def begun(runs: int, task: Sweep) -> None:
    await eventually(lambda: task.begun == runs)


async def ended(runs: int, *tasks: Sweep) -> None:
    await eventually(lambda: all(task.ended == runs for task in tasks))


async def test_a_task_runs_shortly_after_the_start_and_then_at_its_interval(
    redis: Redis, database: Database
) -> None:
    clock, sweep = ManualClock(), Sweep(nothing)
    async with running(clock, redis, database, sweep):
        assert sweep.begun == 0
        clock.advance(2)
        await eventually(lambda: sweep.begun == 1)
        for runs in (2, 3):
            await all_asleep(clock, sweep)
            clock.advance(50)
            assert sweep.begun == runs - 1
            clock.advance(15)
            await begun(runs, sweep)


async def test_a_task_that_crashes_runs_again_and_the_others_never_notice(
    redis: Redis, database: Database
) -> None:
    clock = ManualClock()
    crashing, sweep = Sweep(crash, "crashing"), Sweep(nothing)
    async with running(clock, redis, database, crashing, sweep) as scheduler:
        for runs in (1, 2):
            clock.advance(65)
            await ended(runs, crashing, sweep)
            await all_asleep(clock, crashing, sweep)
        assert scheduler.reports()["crashing"].failure == "ConnectionError; the log has the traceback"
        assert scheduler.reports()["sweep"].ok


async def test_a_task_that_cancels_itself_is_a_failed_run_and_runs_again(
    redis: Redis, database: Database
) -> None:
    clock, sweep = ManualClock(), Sweep(cancel_itself)
    async with running(clock, redis, database, sweep) as scheduler:
        for runs in (1, 2):
            clock.advance(65)
            await ended(runs, sweep)
            await all_asleep(clock, sweep)
        assert scheduler.reports()["sweep"].failure == "the task cancelled itself"


async def test_a_run_that_takes_longer_than_the_interval_is_not_overlapped(
    redis: Redis, database: Database
) -> None:
    let_go = asyncio.Event()

    async def slow() -> Sequence[TaskAction]:
        await let_go.wait()
        return ()

    clock, sweep = ManualClock(), Sweep(slow)
    async with running(clock, redis, database, sweep) as scheduler:
        clock.advance(2)
        await eventually(lambda: sweep.begun == 1)
        for _ in range(40):
            await eventually(lambda: clock.sleeping == 1)  # the renewal of the lease
            clock.advance(5)
        assert sweep.begun == 1
        second = await scheduler.run_once("sweep")
        assert second.skipped == "sweep is already running on daemon-a"
        let_go.set()
        await eventually(lambda: sweep.ended >= 1)


async def test_stopping_waits_for_the_run_that_is_going_on(redis: Redis, database: Database) -> None:
    let_go = asyncio.Event()

    async def slow() -> Sequence[TaskAction]:
        await let_go.wait()
        return (TaskAction("m", "sweep", ok=True),)

    clock, sweep = ManualClock(), Sweep(slow)
    async with running(clock, redis, database, sweep) as scheduler:
        clock.advance(2)
        await eventually(lambda: sweep.begun == 1)
        stopping = asyncio.create_task(scheduler.stop())
        await asyncio.wait({stopping}, timeout=0.02)
        assert not stopping.done()
        let_go.set()
        await stopping
        assert scheduler.reports()["sweep"].actions == (TaskAction("m", "sweep", ok=True),)


async def test_stopping_cancels_a_run_that_does_not_end_in_time(redis: Redis, database: Database) -> None:
    async def endless() -> Sequence[TaskAction]:
        await asyncio.Event().wait()
        return ()

    clock, sweep = ManualClock(), Sweep(endless)
    async with running(clock, redis, database, sweep, stop_seconds=0.02) as scheduler:
        clock.advance(2)
        await eventually(lambda: sweep.begun == 1)
        await scheduler.stop()
        assert sweep.ended == 1
        assert await redis.exists("zmartd:task:sweep:lock") == 0


async def test_a_disabled_task_runs_only_when_it_is_asked_for(redis: Redis, database: Database) -> None:
    clock, sweep = ManualClock(), Sweep(nothing, enabled=False)
    async with running(clock, redis, database, sweep) as scheduler:
        clock.advance(1_000)
        assert scheduler.reports() == {}
        assert (await scheduler.run_once("sweep")).ok
        assert sweep.begun == 1


async def test_an_unknown_task_is_an_error_that_lists_those_there_are(
    redis: Redis, database: Database
) -> None:
    async with running(ManualClock(), redis, database, Sweep(nothing)) as scheduler:
        with pytest.raises(UnknownTask, match="there is no task 'swoop'; there are: sweep"):
            await scheduler.run_once("swoop")


async def test_the_run_of_a_plugin_that_cannot_be_loaded_has_failed_and_says_why(
    redis: Redis, database: Database
) -> None:
    clock = ManualClock()
    runner = TaskRunner(TaskLock(redis, "daemon-a", clock), RunHistory(database), clock)
    broken = BrokenPlugin("swoop", "no.such.module:Swoop", "ModuleNotFoundError: No module named 'no'")
    scheduler = Scheduler([Sweep(nothing)], runner, clock, random.Random(1), broken=[broken])
    report = await scheduler.run_once("swoop")
    assert (report.ok, report.task) == (False, "swoop")
    assert report.failure == (
        "the plugin no.such.module:Swoop cannot be loaded: ModuleNotFoundError: No module named 'no'"
    )
    assert (scheduler.broken, scheduler.names) == (("swoop",), ("sweep",))


async def test_a_report_is_not_ok_when_one_market_failed(redis: Redis, database: Database) -> None:
    failed = TaskAction("m2", "finalize", ok=False, detail="BoundedLossExceeded")

    async def mixed() -> Sequence[TaskAction]:
        return [TaskAction("m1", "finalize", ok=True, signature="5sig"), failed]

    async with running(ManualClock(), redis, database, Sweep(mixed)) as scheduler:
        report = await scheduler.run_once("sweep")
    assert report.failure is None
    assert report.actions[1] == failed
    assert not report.ok


async def test_a_task_that_cannot_work_is_skipped_and_says_why(redis: Redis, database: Database) -> None:
    async def keyless() -> Sequence[TaskAction]:
        raise TaskSkipped("there is no authority key")

    async with running(ManualClock(), redis, database, Sweep(keyless)) as scheduler:
        report = await scheduler.run_once("sweep")
    assert report.skipped == "there is no authority key"
    assert report.fencing_token is not None
    assert report.ok


async def test_without_redis_the_task_does_not_run_and_the_report_says_so(
    lost_redis: Redis, database: Database
) -> None:
    sweep = Sweep(nothing)
    async with running(ManualClock(), lost_redis, database, sweep) as scheduler:
        report = await scheduler.run_once("sweep")
    assert sweep.begun == 0
    assert report.failure is not None
    assert "Redis does not answer" in report.failure


async def test_runs_that_did_something_or_failed_are_kept_for_every_daemon_to_read(
    redis: Redis, database: Database
) -> None:
    async def sweep() -> Sequence[TaskAction]:
        return [TaskAction("m", "sweep", ok=True)]

    tasks = (Sweep(sweep, "busy"), Sweep(nothing, "idle"), Sweep(crash, "broken"))
    async with running(ManualClock(), redis, database, *tasks) as scheduler:
        for name in ("busy", "idle", "broken"):
            await scheduler.run_once(name)

    async with database.service() as connection:
        kept = await connection.fetch("select task, outcome, report from task_runs order by task")
    assert [(run["task"], run["outcome"]) for run in kept] == [("broken", "failed"), ("busy", "ok")]
    assert json.loads(kept[1]["report"])["actions"][0]["action"] == "sweep"
