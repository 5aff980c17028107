"""A daemon whose tasks run by what is due, as a process of its own.

    python -m tests.integration.tasks.due_process PLAN

PLAN is JSON, a `Plan`. It says `ready` on its standard output, and ends when its standard input does. Of all
that share a Redis, the first that reaches the plan's fault point kills itself there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import aiohttp
import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from tests.integration.tasks.due_daemons import due_daemon
from tests.integration.tasks.world import World
from tests.patience import patient_database
from zmartd.faults import Point, watching
from zmartd.log import configure
from zmartd.store.postgres.database import Database
from zmartd.tasks import scheduler
from zmartd.tasks.due_watch import LOOK_SECONDS

KILLED = "killed at"
"""The key in Redis that has the daemon that was killed."""


class Plan(Struct, frozen=True):
    name: str
    postgres: str
    redis: str
    rpc: str
    point: str


async def serve(plan: Plan) -> None:
    scheduler.LOOK_SECONDS = 3_600.0  # type: ignore[misc] # nothing is found by a look that comes anyway
    redis = Redis.from_url(plan.redis)
    database = await Database.connect(patient_database(plan.postgres))

    async def kill_the_first(point: Point) -> None:
        if point == plan.point and await redis.set(KILLED, plan.name, nx=True):
            os.kill(os.getpid(), signal.SIGKILL)

    async with aiohttp.ClientSession() as session:
        world = World(plan.rpc, database, redis, session)
        async with due_daemon(world, plan.name, look_seconds=LOOK_SECONDS):
            os.write(1, b"ready\n")
            with watching(kill_the_first):
                await asyncio.to_thread(sys.stdin.read)
    await redis.aclose()
    await database.close()


if __name__ == "__main__":
    configure("error", "console", sys.stderr)
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Plan)))
