"""A daemon with nothing but tasks, as a process of its own: `python -m tests.stress.task_daemon PLAN`.

PLAN is JSON, a `Plan`. The tasks do one thing, in one statement that only the holder of the run can do: they
leave an effect, the run's id, in the table `effects`.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Sequence

import msgspec
import uvloop
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.contextvars import get_contextvars

from zmartd import config
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.log import configure
from zmartd.schedule import CatchUp, Schedule, read_timing
from zmartd.store.postgres.database import Database
from zmartd.tasks.base import TaskAction
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns

EFFECTS = "create table public.effects (run_id bigint primary key, fencing_token bigint not null)"
_LEAVE = """
insert into public.effects (run_id, fencing_token)
select id, fencing_token from task_runs where fencing_token = $1 and status = 'running' for update
on conflict (run_id) do nothing
returning true
"""


class PlannedTask(Struct, frozen=True):
    name: str
    timing: str
    catch_up: CatchUp
    seconds: float
    """How long a run takes, at most."""


class Plan(Struct, frozen=True):
    name: str
    seed: int
    postgres: str
    redis: str
    off_seconds: float
    """How wrong this daemon's clock is."""
    tasks: tuple[PlannedTask, ...]


class WrongClock(SystemClock):
    """Wrong by so many seconds, and ever more: it gains a thousandth."""

    def __init__(self, off_seconds: float) -> None:
        self._off_seconds = off_seconds

    def time(self) -> float:
        return SystemClock.time() + self._off_seconds

    def monotonic(self) -> float:
        return SystemClock.monotonic() * 1.001 + self._off_seconds


class Effect:
    """A `PeriodicTask`; see zmartd.tasks.base."""

    enabled = True

    def __init__(self, planned: PlannedTask, database: Database, rng: random.Random) -> None:
        self.name = planned.name
        self.schedule = Schedule(timing=read_timing(planned.timing), catch_up=planned.catch_up)
        self._seconds = planned.seconds
        self._database = database
        self._rng = rng

    async def run(self) -> Sequence[TaskAction]:
        await asyncio.sleep(self._seconds * self._rng.random())
        token = get_contextvars()["fencing_token"]
        async with self._database.service_reader() as connection:
            await connection.fetchval(_LEAVE, token)
        return ()


async def serve(plan: Plan) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clock, rng = WrongClock(plan.off_seconds), random.Random(plan.seed)
    while True:
        try:
            database = await Database.connect(
                config.DatabaseSettings(url=PostgresUrl(plan.postgres), pool_size=5)
            )
            break
        except Exception:  # Postgres restarts
            await asyncio.sleep(0.2)
    redis = Redis.from_url(plan.redis, retry=Retry(NoBackoff(), 0))
    tasks = [Effect(planned, database, rng) for planned in plan.tasks]
    scheduler = Scheduler(
        tasks,
        TaskLedger(database, plan.name, clock),
        Turns(redis, plan.name, clock),
        clock,
        stop_seconds=0.1,
    )
    await scheduler.start()
    await stop.wait()
    await scheduler.stop()
    await redis.aclose()
    await database.close()


if __name__ == "__main__":
    configure("error", "console", sys.stderr)
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Plan)))
