"""Daemons whose tasks run by what is due alone: their schedules come once a year."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from tests import patience
from tests.integration.tasks.world import World
from zmartd.chain.answers import ChainTime
from zmartd.clock import SystemClock
from zmartd.indexer.plausibility import Plausibility
from zmartd.store import task_ledger
from zmartd.store.task_ledger import Entry
from zmartd.tasks.base import PeriodicTask
from zmartd.tasks.due_watch import DueWatch
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns
from zmartd.tasks.vote_aggregator import VoteAggregator

MONITOR, AGGREGATOR = "market_monitor", "vote_aggregator"
YEARLY_SECONDS = 31_536_000.0
LOOK_SECONDS = 1.0


@dataclass
class DueDaemon:
    scheduler: Scheduler
    watch: DueWatch
    chain: Plausibility


@asynccontextmanager
async def due_daemon(
    world: World,
    name: str = "daemon-a",
    *,
    redis: Redis | None = None,
    ask: Callable[[], Awaitable[ChainTime]] | None = None,
    look_seconds: float = LOOK_SECONDS,
    **settings: Any,
) -> AsyncIterator[DueDaemon]:
    """A daemon with both tasks, once their first runs are over. `ask`: what tells it the chain's time."""
    async with world.daemon() as opened:
        context = opened.context(every_seconds=YEARLY_SECONDS, **settings)
        clock = SystemClock()
        turns = Turns(redis or world.redis, name, clock)
        tasks: list[PeriodicTask] = [MarketMonitor(context), VoteAggregator(context)]
        scheduler = Scheduler(tasks, TaskLedger(world.database, name, clock), turns, clock)
        chain = Plausibility(ask or opened.rpc.chain_time, clock, jumps=True)
        watch = DueWatch(
            scheduler.enabled,
            database=world.database,
            scheduler=scheduler,
            turns=turns,
            chain=chain,
            clock=clock,
            monitor=context.settings.market_monitor,
            voting=context.voting,
            look_seconds=look_seconds,
        )
        await scheduler.start()
        await world.until(lambda: have_swept(world), patience.SECONDS)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch.run())
            try:
                yield DueDaemon(scheduler, watch, chain)
            finally:
                watching.cancel()
                await scheduler.stop()


async def have_swept(world: World) -> bool:
    """Whether the first runs of both tasks are over, after which none comes by the schedules."""
    ran = await world.fetch("select distinct task from task_runs where status = 'ran'")
    return len(ran) == 2


async def prompted(world: World, task: str) -> list[Entry]:
    """The rows of what prompted the task, oldest first."""
    async with world.database.service_reader() as connection:
        rows = await task_ledger.entries(connection, task, 1_000)
    return [row for row in reversed(rows) if row.prompted_because is not None]


async def reasons(world: World, task: str) -> list[str]:
    """What prompted the task, oldest first."""
    return [row.prompted_because or "" for row in await prompted(world, task)]


async def require_no_sweep(world: World) -> None:
    """Both tasks have run by their schedules once, when they were new."""
    assert await world.fetch(
        "select task, count(*) from task_runs where prompted_because is null group by task order by task"
    ) == [(MONITOR, 1), (AGGREGATOR, 1)]
