from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.integration.tasks.manual_clock import eventually
from zmartd.clock import SystemClock
from zmartd.schedule import Every, Schedule
from zmartd.store import task_ledger
from zmartd.store.due_moments import DueMoment
from zmartd.store.postgres.database import Database
from zmartd.tasks.base import TaskAction, TaskSkipped
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.plugins import BrokenPlugin
from zmartd.tasks.scheduler import Scheduler, UnknownTask
from zmartd.tasks.turns import Turns

PATIENCE_SECONDS = 60.0
"""For a slow machine; a test waits no longer than it needs to."""


class Sweep:
    """A task that counts its runs and does in each what it was given."""

    def __init__(
        self,
        work: Callable[[], Awaitable[Sequence[TaskAction]]],
        name: str = "sweep",
        enabled: bool = True,
        schedule: Schedule = Schedule(timing=Every(86_400)),  # noqa: B008 - it is frozen
    ) -> None:
        self.name = name
        self.enabled = enabled
        self.schedule = schedule
        self.begun = 0
        self.ended = 0
        self._work = work

    async def run(self) -> Sequence[TaskAction]:
        self.begun += 1
        try:
            return await self._work()
        finally:
            self.ended += 1


OFTEN = Schedule(timing=Every(0.2))


async def nothing() -> Sequence[TaskAction]:
    return ()


async def crash() -> Sequence[TaskAction]:
    raise ConnectionError("postgresql://zmartd:hunter2@db refused")


async def cancel_itself() -> Sequence[TaskAction]:
    raise asyncio.CancelledError


def scheduler_of(
    redis: Redis,
    database: Database,
    *tasks: Sweep,
    stop_seconds: float = 5.0,
    daemon: str = "daemon-a",
    broken: Sequence[BrokenPlugin] = (),
) -> Scheduler:
    clock = SystemClock()
    ledger, turns = TaskLedger(database, daemon, clock), Turns(redis, daemon, clock)
    return Scheduler(tasks, ledger, turns, clock, stop_seconds, broken=broken)


@asynccontextmanager
async def running(
    redis: Redis, database: Database, *tasks: Sweep, stop_seconds: float = 5.0
) -> AsyncIterator[Scheduler]:
    scheduler = scheduler_of(redis, database, *tasks, stop_seconds=stop_seconds)
    await scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop()


async def wait_for(condition: Callable[[], bool]) -> None:
    await eventually(condition, PATIENCE_SECONDS)


async def kept(database: Database) -> list[dict[str, object]]:
    """The rows of the ledger, oldest first."""
    async with database.service_reader() as connection:
        return [dict(row) for row in await connection.fetch("select * from task_runs order by id")]


async def test_a_new_task_runs_at_once_and_then_at_each_of_its_instants(
    redis: Redis, database: Database
) -> None:
    once, often = Sweep(nothing, "once"), Sweep(nothing, "often", schedule=OFTEN)
    async with running(redis, database, once, often) as scheduler:
        await wait_for(lambda: often.ended >= 4 and once.ended == 1)
        assert scheduler.reports()["often"].ok
    assert once.begun == 1


async def test_a_task_that_crashes_runs_again_and_the_others_never_notice(
    redis: Redis, database: Database
) -> None:
    crashing = Sweep(crash, "crashing", schedule=OFTEN)
    itself = Sweep(cancel_itself, "itself", schedule=OFTEN)
    sweep = Sweep(nothing, schedule=OFTEN)
    async with running(redis, database, crashing, itself, sweep) as scheduler:
        await wait_for(lambda: min(crashing.ended, itself.ended, sweep.ended) >= 2)
        assert scheduler.reports()["crashing"].failure == "ConnectionError; the log has the traceback"
        assert scheduler.reports()["itself"].failure == "the task cancelled itself"
        assert scheduler.reports()["sweep"].ok


async def test_a_run_that_takes_longer_than_the_interval_is_not_overlapped(
    redis: Redis, database: Database
) -> None:
    let_go = asyncio.Event()

    async def slow() -> Sequence[TaskAction]:
        await let_go.wait()
        return ()

    sweep = Sweep(slow, schedule=OFTEN)
    async with running(redis, database, sweep) as scheduler:
        overlapped = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while overlapped < 5:
                rows = await kept(database)
                overlapped = sum(int(str(row["instants"])) for row in rows if row["reason"] == "overlap")
                await asyncio.sleep(0.05)
        second = await scheduler.run_once("sweep")
        assert second.skipped == "sweep is already running on daemon-a"
        assert sweep.begun == 1
        let_go.set()
        await wait_for(lambda: sweep.begun > 1)


async def test_a_run_that_takes_longer_than_it_may_is_cancelled_and_has_failed(
    redis: Redis, database: Database
) -> None:
    async def endless() -> Sequence[TaskAction]:
        await asyncio.Event().wait()
        return ()

    schedule = Schedule(timing=Every(86_400), time_limit_seconds=0.3)
    report = await scheduler_of(redis, database, Sweep(endless, schedule=schedule)).run_once("sweep")
    assert report.failure == "it took longer than its time limit of 0.3 s"
    (row,) = await kept(database)
    assert (row["outcome"], row["explanation"]) == ("failed", report.failure)


async def test_stopping_waits_for_the_run_that_is_going_on(redis: Redis, database: Database) -> None:
    let_go = asyncio.Event()

    async def slow() -> Sequence[TaskAction]:
        await let_go.wait()
        return (TaskAction("m", "sweep", ok=True),)

    sweep = Sweep(slow)
    async with running(redis, database, sweep, stop_seconds=PATIENCE_SECONDS) as scheduler:
        await wait_for(lambda: sweep.begun == 1)
        stopping = asyncio.create_task(scheduler.stop())
        await asyncio.wait({stopping}, timeout=0.02)
        assert not stopping.done()
        let_go.set()
        await stopping
        assert scheduler.reports()["sweep"].actions == (TaskAction("m", "sweep", ok=True),)


async def test_stopping_cancels_a_run_that_does_not_end_in_time_and_gives_it_back(
    redis: Redis, database: Database
) -> None:
    async def endless() -> Sequence[TaskAction]:
        await asyncio.Event().wait()
        return ()

    sweep = Sweep(endless)
    async with running(redis, database, sweep, stop_seconds=0.02) as scheduler:
        await wait_for(lambda: sweep.begun == 1)
        await scheduler.stop()
        assert sweep.ended == 1
    (row,) = await kept(database)
    assert (row["status"], row["lease_until"]) == ("running", None)

    successor = Sweep(nothing)
    async with running(redis, database, successor):
        await wait_for(lambda: successor.ended == 1)
    (row,) = await kept(database)
    assert (row["status"], row["attempt"], row["deaths"]) == ("ran", 2, 0)


async def test_a_task_that_swallows_its_cancellation_ends_all_the_same(
    redis: Redis, database: Database
) -> None:
    async def stubborn() -> Sequence[TaskAction]:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:  # as redis-py on Python 3.11 may do
                continue
        return ()

    schedule = Schedule(timing=Every(86_400), time_limit_seconds=0.1)
    sweep = Sweep(stubborn, schedule=schedule)
    report = await scheduler_of(redis, database, sweep).run_once("sweep")
    assert report.failure is not None
    assert sweep.ended == 1


async def test_a_disabled_task_runs_only_when_it_is_asked_for(redis: Redis, database: Database) -> None:
    disabled, often = Sweep(nothing, "disabled", enabled=False), Sweep(nothing, "often", schedule=OFTEN)
    async with running(redis, database, disabled, often) as scheduler:
        await wait_for(lambda: often.ended >= 3)
        assert disabled.begun == 0
        assert (await scheduler.run_once("disabled")).ok
        assert disabled.begun == 1


async def test_an_unknown_task_is_an_error_that_names_the_nearest(redis: Redis, database: Database) -> None:
    scheduler = scheduler_of(redis, database, Sweep(nothing), Sweep(nothing, "mop"))
    with pytest.raises(UnknownTask) as caught:
        await scheduler.run_once("sweap")
    assert caught.value.message == "there is no task 'sweap'; there are: sweep, mop; did you mean sweep?"


async def test_the_run_of_a_plugin_that_cannot_be_loaded_has_failed_and_says_why(
    redis: Redis, database: Database
) -> None:
    broken = BrokenPlugin("swoop", "no.such.module:Swoop", "ModuleNotFoundError: No module named 'no'")
    scheduler = scheduler_of(redis, database, Sweep(nothing), broken=[broken])
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

    report = await scheduler_of(redis, database, Sweep(mixed)).run_once("sweep")
    assert report.failure is None
    assert report.actions[1] == failed
    assert not report.ok


async def test_a_task_that_cannot_work_is_skipped_and_says_why(redis: Redis, database: Database) -> None:
    async def keyless() -> Sequence[TaskAction]:
        raise TaskSkipped("there is no authority key")

    report = await scheduler_of(redis, database, Sweep(keyless)).run_once("sweep")
    assert report.skipped == "there is no authority key"
    assert report.fencing_token is not None
    assert report.ok


async def test_without_redis_tasks_run_as_they_do_with_it(
    lost_redis: Redis, silent_redis: Redis, database: Database
) -> None:
    for redis in (lost_redis, silent_redis):
        sweep = Sweep(nothing, schedule=OFTEN)
        async with running(redis, database, sweep):
            await wait_for(lambda: sweep.ended >= 5)  # noqa: B023 - it is awaited here


async def test_runs_are_kept_for_every_daemon_to_read(redis: Redis, database: Database) -> None:
    async def sweep() -> Sequence[TaskAction]:
        return [TaskAction("m", "sweep", ok=True)]

    tasks = (Sweep(sweep, "busy"), Sweep(nothing, "idle"), Sweep(crash, "broken"))
    scheduler = scheduler_of(redis, database, *tasks)
    for name in ("busy", "idle", "broken"):
        await scheduler.run_once(name)

    rows = await kept(database)
    assert [(row["task"], row["outcome"], row["eventful"], row["due_at"]) for row in rows] == [
        ("busy", "ok", True, None),
        ("idle", "ok", False, None),
        ("broken", "failed", True, None),
    ]
    assert json.loads(str(rows[0]["report"]))["actions"][0]["action"] == "sweep"


def moment(number: int, task: str = "sweep") -> DueMoment:
    """That of a market that is due for the task."""
    return DueMoment(datetime(2026, 6, 1, tzinfo=UTC), f"{number:064x}", task, "finalization")


def reason(number: int) -> str:
    return f"due: finalization of market {number:064x} at 2026-06-01T00:00:00.000Z by the chain's clock"


async def prompts(database: Database) -> list[tuple[object, ...]]:
    """The rows of what prompted the task, oldest first."""
    return [
        (row["status"], row["reason"], row["prompted_because"])
        for row in await kept(database)
        if row["prompted_because"] is not None
    ]


async def test_a_moment_prompts_one_run_at_once_which_its_row_explains(
    redis: Redis, database: Database
) -> None:
    sweep = Sweep(nothing)
    async with running(redis, database, sweep) as scheduler:
        await wait_for(lambda: sweep.ended == 1)
        await scheduler.prompt([moment(1), moment(2), moment(3)])
        await scheduler.prompt([moment(1), moment(2), moment(3)])
        await wait_for(lambda: sweep.ended == 2)
        await scheduler.prompt([moment(3), moment(2)])
    assert sweep.begun == 2
    assert await prompts(database) == [("ran", None, f"{reason(1)} and 2 more")]


async def test_what_is_prompted_while_a_run_goes_on_is_run_once_more_after_it(
    redis: Redis, database: Database
) -> None:
    let_go = asyncio.Event()

    async def slow() -> Sequence[TaskAction]:
        await let_go.wait()
        return ()

    sweep = Sweep(slow)
    async with running(redis, database, sweep) as scheduler:
        scheduler.watch(["sweep"], lambda: None)
        await wait_for(lambda: sweep.begun == 1)
        await scheduler.prompt([moment(1)])
        await scheduler.prompt([moment(2)])
        assert sweep.begun == 1
        let_go.set()
        await wait_for(lambda: sweep.ended == 2)
    assert sweep.begun == 2
    assert await prompts(database) == [("ran", None, reason(1))]


async def test_a_prompt_of_a_daemon_that_is_gone_is_answered_by_another(
    redis: Redis, database: Database
) -> None:
    sweep = Sweep(nothing)
    async with running(redis, database, sweep):
        await wait_for(lambda: sweep.ended == 1)
    await scheduler_of(redis, database, daemon="gone").prompt([moment(1)])
    async with running(redis, database, sweep):
        await wait_for(lambda: sweep.ended == 2)
    assert await prompts(database) == [("ran", None, reason(1))]


async def test_a_moment_that_a_run_did_not_move_prompts_another_one_later_each_time(
    redis: Redis, database: Database
) -> None:
    sweep = Sweep(nothing)

    async def again_after() -> list[object]:
        async with database.service_reader() as connection:
            rows = await connection.fetch(
                """
                select prompts, round(extract(epoch from again_at - schedule.prompted_at))::int as after
                  from prompted_moments join task_schedules as schedule using (task)
                """
            )
        return [tuple(row) for row in rows]

    scheduler = scheduler_of(redis, database, sweep)
    await scheduler.start()
    await wait_for(lambda: sweep.ended == 1)
    await scheduler.stop()
    seen = []
    for _ in range(10):
        await scheduler.prompt([moment(1)])
        seen += await again_after()
        async with database.service() as connection:
            await connection.execute("update prompted_moments set again_at = clock_timestamp()")
            await connection.execute("update task_schedules set prompted_at = null, prompted_because = null")
    assert seen == list(enumerate((2, 4, 8, 16, 32, 64, 128, 256, 300, 300), start=1))


async def test_a_paused_task_is_not_prompted(redis: Redis, database: Database) -> None:
    sweep = Sweep(nothing)
    async with running(redis, database, sweep) as scheduler:
        await wait_for(lambda: sweep.ended == 1)
        async with database.service_reader() as connection:
            await task_ledger.pause(connection, "sweep", None, "the node moves", "ann")
        await scheduler.prompt([moment(1)])
        async with database.service_reader() as connection:
            assert (await task_ledger.states(connection, ["sweep"]))["sweep"].prompt is None
            await task_ledger.resume(connection, "sweep")
        await scheduler.prompt([moment(1)])
        await wait_for(lambda: sweep.ended == 2)
    assert await prompts(database) == [("ran", None, reason(1))]


async def test_a_pause_after_a_prompt_skips_it_with_the_reason(redis: Redis, database: Database) -> None:
    sweep = Sweep(nothing)
    async with running(redis, database, sweep) as scheduler:
        await wait_for(lambda: sweep.ended == 1)
    await scheduler.prompt([moment(1)])
    async with database.service_reader() as connection:
        await task_ledger.pause(connection, "sweep", None, "the node moves", "ann")
    async with running(redis, database, sweep), asyncio.timeout(PATIENCE_SECONDS):
        while not await prompts(database):  # noqa: ASYNC110 - a row of the database is no event
            await asyncio.sleep(0.02)
    assert sweep.begun == 1
    assert await prompts(database) == [("skipped", "paused", reason(1))]


@pytest.mark.parametrize(
    "report",
    [
        [TaskAction(None, "pin", ok=False, detail="the service said \x00")],
        [TaskAction(None, "pin", ok=False, detail="half a character: \ud800")],
        [TaskAction(None, "pin", ok=False, detail=object())],  # type: ignore[arg-type]
        ["done"],
        None,
    ],
)
async def test_a_report_that_cannot_be_kept_is_a_failed_run_and_the_next_one_comes(
    redis: Redis, database: Database, report: Any
) -> None:
    async def strange() -> Sequence[TaskAction]:
        found: Sequence[TaskAction] = report
        return found

    sweep = Sweep(strange, schedule=OFTEN)
    async with running(redis, database, sweep):
        await wait_for(lambda: sweep.ended >= 3)
    done = [row for row in await kept(database) if row["status"] == "ran"]
    assert {(row["outcome"], json.loads(str(row["report"]))["actions"] == []) for row in done} == {
        ("failed", True)
    }


async def test_what_fails_in_each_run_is_told_once_and_counted_each_time(
    redis: Redis, database: Database
) -> None:
    details = iter(
        ["BoundedLossExceeded in slot 17", "BoundedLossExceeded in slot 18", "InvalidState in slot 19"]
    )

    async def failing_market() -> Sequence[TaskAction]:
        return [TaskAction("m", "finalize", ok=False, detail=next(details))]

    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"zmartd_task_{name}_total", labels) or 0

    scheduler = scheduler_of(redis, database, Sweep(crash, "broken"), Sweep(failing_market, "sweep"))
    runs = counted("runs", task="broken", outcome="failed")
    actions = counted("actions", task="sweep", action="finalize", ok="false")
    with capture_logs() as lines:
        for _ in range(3):
            await scheduler.run_once("broken")
            await scheduler.run_once("sweep")
    told = [line for line in lines if line["log_level"] == "error"]
    assert [(line["event"], line["task"]) for line in told] == [
        ("task.failed", "broken"),
        ("task.finalize", "sweep"),
        ("task.finalize", "sweep"),
    ]
    assert [line["detail"] for line in told[1:]] == [
        "BoundedLossExceeded in slot 17",
        "InvalidState in slot 19",
    ]
    assert counted("runs", task="broken", outcome="failed") == runs + 3
    assert counted("actions", task="sweep", action="finalize", ok="false") == actions + 3
