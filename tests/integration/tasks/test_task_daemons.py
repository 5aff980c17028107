"""Several daemons with the same tasks, on one Postgres and one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.ledger_audit import whole_ledger
from tests.integration.tasks.test_task_scheduler import PATIENCE_SECONDS, Sweep, nothing, wait_for
from zmartd import config
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.schedule import Every, Schedule
from zmartd.store import task_ledger
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.store.task_ledger import Entry
from zmartd.tasks.base import TaskAction
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.runner import MOST_ATTEMPTS
from zmartd.tasks.scheduler import ASIDE_SECONDS, Scheduler
from zmartd.tasks.turns import Turns

OFTEN = Every(0.25)
DAEMONS = 4


class SkewedClock(SystemClock):
    """A machine's clock that is wrong."""

    def __init__(self, off_seconds: float) -> None:
        self._off_seconds = off_seconds

    def time(self) -> float:
        return SystemClock.time() + self._off_seconds

    def monotonic(self) -> float:
        return SystemClock.monotonic() + 7 * self._off_seconds


@dataclass
class Daemon:
    name: str
    task: Sweep
    database: Database
    scheduler: Scheduler

    async def die(self) -> None:
        """As far as Postgres can see: its connections are gone, and nothing is given back."""
        self.database._pool.terminate()
        await self.scheduler.stop()


@asynccontextmanager
async def daemons(
    database_url: str,
    redis: Redis,
    tasks: Sequence[Sweep],
    off_seconds: Sequence[float] = (),
    aside_seconds: Sequence[float] = ASIDE_SECONDS,
) -> AsyncIterator[list[Daemon]]:
    async with AsyncExitStack() as stack:
        started = []
        for number, task in enumerate(tasks):
            name = f"daemon-{number}"
            clock = SkewedClock(off_seconds[number]) if off_seconds else SystemClock()
            settings = config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=3)
            database = await Database.connect(settings)
            stack.callback(database._pool.terminate)
            ledger, turns = TaskLedger(database, name, clock), Turns(redis, name, clock)
            scheduler = Scheduler([task], ledger, turns, clock, stop_seconds=0.0, aside_seconds=aside_seconds)
            stack.push_async_callback(scheduler.stop)
            await scheduler.start()
            started.append(Daemon(name, task, database, scheduler))
        yield started


async def begins_at(database: Database) -> datetime:
    """The first instant of the ledger, when there is one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with database.service_reader() as connection:
                first: datetime | None = await connection.fetchval("select min(due_at) from task_runs")
            if first is not None:
                return first
            await asyncio.sleep(0.02)


async def require_each_instant_once(database: Database, ran: int) -> None:
    found = await whole_ledger(database, "sweep", OFTEN, await begins_at(database))
    assert sum(row.status == "ran" for row in found) >= ran
    assert len({row.fencing_token for row in found if row.status == "ran"}) == sum(
        row.status == "ran" for row in found
    )


def sweeps() -> list[Sweep]:
    return [Sweep(nothing, schedule=Schedule(timing=OFTEN)) for _ in range(DAEMONS)]


async def test_each_instant_is_run_by_one_daemon_whatever_their_clocks_say(
    database_url: str, database: Database, redis: Redis
) -> None:
    tasks = sweeps()
    async with daemons(database_url, redis, tasks, off_seconds=(-600, 0, 600, 86_400)):
        await wait_for(lambda: sum(task.ended for task in tasks) >= 20)
    await require_each_instant_once(database, 20)
    async with database.service_reader() as connection:
        late = await connection.fetchval(
            "select max(started_at - last_due_at) from task_runs where status = 'ran'"
        )
    assert timedelta(0) <= late < timedelta(seconds=PATIENCE_SECONDS)


async def test_a_redis_that_forgets_everything_all_the_time_changes_nothing(
    database_url: str, database: Database, redis: Redis
) -> None:
    tasks = sweeps()
    async with daemons(database_url, redis, tasks), asyncio.timeout(PATIENCE_SECONDS):
        while sum(task.ended for task in tasks) < 15:
            await redis.flushall()
            await asyncio.sleep(0.01)
    await require_each_instant_once(database, 15)


async def test_the_run_of_a_daemon_that_dies_goes_on_elsewhere(
    database_url: str, database: Database, redis: Redis
) -> None:
    async def until_let_go() -> Sequence[TaskAction]:
        await let_go.wait()
        return ()

    let_go = asyncio.Event()
    tasks = [Sweep(until_let_go, schedule=Schedule(timing=Every(86_400))) for _ in range(3)]
    async with daemons(database_url, redis, tasks) as started:
        await wait_for(lambda: sum(task.begun for task in tasks) == 1)
        (victim,) = [daemon for daemon in started if daemon.task.begun]
        await victim.die()
        await wait_for(lambda: sum(task.begun for task in tasks) == 2)
        let_go.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with database.service_reader() as connection:
                    (row,) = await task_ledger.entries(connection, "sweep", 10)
                if row.status == "ran":
                    break
                await asyncio.sleep(0.02)
    assert (row.attempt, row.outcome) == (2, "ok")
    assert row.daemon != victim.name
    assert victim.task.begun == 1


async def test_a_daemon_whose_node_refuses_gives_its_run_back_and_stands_aside(
    database_url: str, database: Database, redis: Redis
) -> None:
    async def refused_at_first() -> Sequence[TaskAction]:
        if sum(task.begun for task in tasks) == 1:
            raise RpcUnavailable("the node answers 403")
        return ()

    tasks = [Sweep(refused_at_first, schedule=Schedule(timing=Every(86_400))) for _ in range(2)]
    async with daemons(database_url, redis, tasks, aside_seconds=(3_600.0,)):
        await wait_for(lambda: sum(task.ended for task in tasks) == 2)
        (row,) = await ended(database)
    assert (row.attempt, row.outcome, row.explanation) == (2, "ok", None)
    assert [task.begun for task in tasks] == [1, 1]


async def refused() -> Sequence[TaskAction]:
    raise RpcRejected("getAccountInfo", 403, "no")


async def test_a_run_that_every_node_refuses_fails_in_the_end(
    database_url: str, database: Database, redis: Redis
) -> None:
    task = Sweep(refused, schedule=Schedule(timing=Every(86_400)))
    async with daemons(database_url, redis, [task], aside_seconds=(0.05,)):
        (row,) = await ended(database)
    assert row.attempt >= MOST_ATTEMPTS
    assert (row.outcome, row.explanation) == ("failed", "the RPC node refused getAccountInfo: no (403)")


async def test_a_run_that_was_given_back_says_so_until_another_daemon_goes_on(
    database_url: str, database: Database, redis: Redis
) -> None:
    task = Sweep(refused, schedule=Schedule(timing=Every(86_400)))
    async with daemons(database_url, redis, [task], aside_seconds=(3_600.0,)):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with database.service_reader() as connection:
                    rows = await task_ledger.entries(connection, "sweep", 10)
                if rows and rows[0].explanation is not None:
                    break
                await asyncio.sleep(0.02)
    assert rows[0].status == "running"
    assert rows[0].explanation == "daemon-0 gave it back: the RPC node refused getAccountInfo: no (403)"


async def ended(database: Database) -> list[Entry]:
    """The rows of the ledger, once none of them runs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with database.service_reader() as connection:
                rows = await task_ledger.entries(connection, "sweep", 10)
            if rows and all(row.status == "ran" for row in rows):
                return rows
            await asyncio.sleep(0.02)


async def test_a_holder_that_cannot_renew_its_lease_cancels_its_run(database_url: str, redis: Redis) -> None:
    async def endless() -> Sequence[TaskAction]:
        await asyncio.Event().wait()
        return ()

    task = Sweep(endless, schedule=Schedule(timing=Every(86_400)))
    async with daemons(database_url, redis, [task]) as (daemon,):
        await wait_for(lambda: task.begun == 1)
        daemon.database._pool.terminate()
        await wait_for(lambda: task.ended == 1)
        await wait_for(lambda: "sweep" in daemon.scheduler.reports())
        failure = daemon.scheduler.reports()["sweep"].failure
    assert failure is not None
    assert failure.startswith("The run's lease could not be renewed")


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that this test may restart."""
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.DURABLE) as server:
        await migrate(server.dsn)
        yield server


async def test_daemons_go_on_when_postgres_comes_back(own_postgres: EmbeddedPostgres, redis: Redis) -> None:
    tasks = sweeps()[:2]
    async with daemons(own_postgres.dsn, redis, tasks) as started:
        await wait_for(lambda: sum(task.ended for task in tasks) >= 5)
        await own_postgres.stop()
        await own_postgres.start()
        before = sum(task.ended for task in tasks)
        await wait_for(lambda: sum(task.ended for task in tasks) >= before + 5)
        for daemon in started:
            await daemon.scheduler.stop()
        await require_each_instant_once(started[0].database, 8)
