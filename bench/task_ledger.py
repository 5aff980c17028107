"""What the ledger costs daemons that share tasks while nothing is due, and how soon a run begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from bench.figures import Figure
from zmartd import config
from zmartd.chain.answers import ChainTime
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.indexer.plausibility import Plausibility
from zmartd.schedule import Every, Schedule
from zmartd.store.due_moments import AGGREGATOR, MONITOR
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.task_settings import MarketMonitorSettings
from zmartd.tasks.base import TaskAction
from zmartd.tasks.due_watch import DueWatch
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns

DAEMONS: Final = 5
TASKS: Final = 10
EVERY_SECONDS: Final = 30.0
BUSY_EVERY_SECONDS: Final = 1.0
_COMMITS: Final = "select xact_commit from pg_stat_database where datname = current_database()"
_DELAYS: Final = """
select percentile_cont(array[0.5, 0.99]) within group (order by milliseconds) as milliseconds,
       count(*) as runs
  from (select extract(epoch from started_at - due_at) * 1000 as milliseconds
          from task_runs where status = 'ran' and due_at > $1::timestamptz) as begun
"""


class Idle(Struct, frozen=True):
    """A task that has nothing to do."""

    name: str
    schedule: Schedule
    enabled: bool = True

    async def run(self) -> list[TaskAction]:
        return []


async def measure(directory: Path, seconds: int) -> list[Figure]:
    """Statements of five daemons with ten tasks, and the delays of runs that are due each second."""
    async with (
        EmbeddedPostgres(directory / "postgres") as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        await migrate(postgres.dsn)
        connection = await asyncpg.connect(postgres.dsn)
        try:
            async with _daemons(postgres.dsn, valkey.url, EVERY_SECONDS):
                statements = await _statements(connection, seconds)
            await connection.execute("truncate task_runs, task_schedules")
            async with _daemons(postgres.dsn, valkey.url, BUSY_EVERY_SECONDS):
                delays = await _delays(connection, seconds)
        finally:
            await connection.close()
    (p50, p99), runs = delays
    return [
        Figure(
            f"{DAEMONS} daemons, {TASKS} tasks every {EVERY_SECONDS:g} s, nothing due",
            statements * 60 / seconds, "transactions/min",
            note="in Postgres, of the ledger and of what is due",
        ),
        Figure(f"{TASKS} tasks each second: a run begins after it is due, p50", p50, "ms"),
        Figure("  p99", p99, "ms", note=f"of {runs} runs"),
    ]  # fmt: skip


async def _statements(connection: asyncpg.Connection, seconds: int) -> int:
    """Transactions of all others in so many seconds."""
    await asyncio.sleep(EVERY_SECONDS / 2)  # the first runs are over
    before: int = await connection.fetchval(_COMMITS)
    await asyncio.sleep(seconds)
    after: int = await connection.fetchval(_COMMITS)
    return after - before - 1


async def _delays(connection: asyncpg.Connection, seconds: int) -> tuple[list[float], int]:
    await asyncio.sleep(3 * BUSY_EVERY_SECONDS)
    began_at = await connection.fetchval("select clock_timestamp()")
    await asyncio.sleep(seconds)
    row = await connection.fetchrow(_DELAYS, began_at)
    assert row is not None, "an aggregate is one row"
    return list(row["milliseconds"]), row["runs"]


@asynccontextmanager
async def _daemons(dsn: str, redis_url: str, every_seconds: float) -> AsyncIterator[None]:
    """The part of so many daemons that looks for what is due, each with connections of its own."""
    async with AsyncExitStack() as stack:
        watches = [await _daemon(stack, dsn, redis_url, every_seconds, name) for name in range(DAEMONS)]
        running = [asyncio.create_task(watch.run()) for watch in watches]
        try:
            yield
        finally:
            for watching in running:
                watching.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _daemon(
    stack: AsyncExitStack, dsn: str, redis_url: str, every_seconds: float, number: int
) -> DueWatch:
    clock, name = SystemClock(), f"daemon-{number}"
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(dsn)))
    stack.push_async_callback(database.close)
    redis = Redis.from_url(redis_url)
    stack.push_async_callback(redis.aclose)

    async def chain_time() -> ChainTime:
        return ChainTime(1, int(time.time()))

    schedule = Schedule(timing=Every(every_seconds))
    names = (MONITOR, AGGREGATOR, *(f"task_{other}" for other in range(TASKS - 2)))
    turns = Turns(redis, name, clock)
    scheduler = Scheduler(
        [Idle(one, schedule) for one in names], TaskLedger(database, name, clock), turns, clock
    )
    await scheduler.start()
    stack.push_async_callback(scheduler.stop)
    return DueWatch(
        scheduler.enabled,
        database=database,
        scheduler=scheduler,
        turns=turns,
        chain=Plausibility(chain_time, clock),
        clock=clock,
        monitor=MarketMonitorSettings(),
        voting=config.VotingSettings(),
    )
