from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.manual_clock import ManualClock, eventually
from zmartd.clock import SystemClock
from zmartd.tasks.lock import LockBusy, LockLost, LockUnavailable, TaskLock

KEY = "zmartd:task:sweep:lock"


class Work:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.cancelled = False
        self.finish = asyncio.Event()

    async def __call__(self, token: int) -> str:
        self.tokens.append(token)
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "swept"

    async def begun(self) -> None:
        await eventually(lambda: bool(self.tokens))


async def immediate(token: int) -> int:
    return token


async def test_a_second_run_is_told_who_holds_the_lock(redis: Redis) -> None:
    work = Work()
    first = asyncio.create_task(TaskLock(redis, "daemon-a", SystemClock()).run("sweep", work))
    await work.begun()

    with pytest.raises(LockBusy, match="sweep is already running on daemon-a"):
        await TaskLock(redis, "daemon-b", SystemClock()).run("sweep", immediate)

    work.finish.set()
    assert await first == "swept"


async def test_tasks_of_different_names_do_not_wait_for_each_other(redis: Redis) -> None:
    lock = TaskLock(redis, "daemon-a", SystemClock())
    work = Work()
    sweeping = asyncio.create_task(lock.run("sweep", work))
    await work.begun()
    assert await lock.run("mop", immediate) > 0
    work.finish.set()
    await sweeping


async def test_each_run_gets_a_greater_token_than_the_one_before(redis: Redis) -> None:
    a, b = TaskLock(redis, "daemon-a", SystemClock()), TaskLock(redis, "daemon-b", SystemClock())
    tokens = [await lock.run("sweep", immediate) for lock in (a, b, b, a)]
    assert tokens == sorted(set(tokens))


async def test_a_run_that_fails_frees_the_lock_and_raises_its_own_error(redis: Redis) -> None:
    async def failing(token: int) -> None:
        raise ValueError("dust")

    lock = TaskLock(redis, "daemon-a", SystemClock())
    with pytest.raises(ValueError, match="dust"):
        await lock.run("sweep", failing)
    assert await redis.exists(KEY) == 0


async def test_a_run_that_is_cancelled_stops_its_work_and_frees_the_lock(redis: Redis) -> None:
    work = Work()
    run = asyncio.create_task(TaskLock(redis, "daemon-a", SystemClock()).run("sweep", work))
    await work.begun()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert work.cancelled
    assert await redis.exists(KEY) == 0


async def test_the_lease_is_renewed_while_the_work_goes_on(redis: Redis) -> None:
    clock = ManualClock()
    work = Work()
    run = asyncio.create_task(TaskLock(redis, "daemon-a", clock, lease_seconds=30).run("sweep", work))
    await work.begun()
    await eventually(lambda: clock.sleeping == 1)
    await redis.pexpire(KEY, 5_000)

    clock.advance(10)
    await eventually(lambda: clock.sleeping == 1)

    assert await redis.pttl(KEY) > 25_000
    work.finish.set()
    await run


async def test_the_lease_of_a_daemon_that_died_ends_by_itself(redis: Redis) -> None:
    """Nothing renews it any more, so Redis must drop it after its lease."""
    work = Work()
    run = asyncio.create_task(TaskLock(redis, "dead", ManualClock(), lease_seconds=30).run("sweep", work))
    await work.begun()
    assert 0 < await redis.pttl(KEY) <= 30_000
    work.finish.set()
    await run


async def test_work_stops_when_another_daemon_took_the_lock_and_its_lock_stays(redis: Redis) -> None:
    clock = ManualClock()
    work = Work()
    run = asyncio.create_task(TaskLock(redis, "daemon-a", clock, lease_seconds=30).run("sweep", work))
    await work.begun()
    await eventually(lambda: clock.sleeping == 1)
    await redis.set(KEY, "99:daemon-b")

    clock.advance(10)

    with pytest.raises(LockLost):
        await run
    assert work.cancelled
    assert await redis.get(KEY) in (b"99:daemon-b", "99:daemon-b")


async def test_work_stops_before_the_lease_ends_when_redis_goes_away(redis: Redis, lost_redis: Redis) -> None:
    clock = ManualClock()
    work = Work()
    lock = TaskLock(redis, "daemon-a", clock, lease_seconds=30)
    run = asyncio.create_task(lock.run("sweep", work))
    await work.begun()
    await eventually(lambda: clock.sleeping == 1)
    lock._redis = lost_redis

    clock.advance(10)
    await eventually(lambda: clock.sleeping == 1)
    assert not work.cancelled
    clock.advance(10)

    with pytest.raises(LockLost):
        await run
    assert work.cancelled


async def test_without_redis_no_work_is_begun(lost_redis: Redis) -> None:
    work = Work()
    with pytest.raises(LockUnavailable):
        await TaskLock(lost_redis, "daemon-a", SystemClock()).run("sweep", work)
    assert work.tokens == []


async def test_a_redis_that_is_connected_but_silent_is_away(silent_redis: Redis) -> None:
    work = Work()
    with pytest.raises(LockUnavailable):
        await TaskLock(silent_redis, "daemon-a", SystemClock(), patience_seconds=0.05).run("sweep", work)
    assert work.tokens == []
