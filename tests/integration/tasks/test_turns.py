from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from tests.integration.tasks.manual_clock import ManualClock
from tests.patience import SECONDS
from zmartd.clock import SystemClock
from zmartd.tasks.turns import REFUSED_TURNS, TURN_MILLISECONDS, UNAVAILABLE_SECONDS, Turns


async def test_one_daemon_has_the_turn_until_it_ends(redis: Redis) -> None:
    daemons = [
        Turns(redis, f"daemon-{number}", SystemClock(), patience_seconds=SECONDS) for number in range(5)
    ]
    assert sum(await asyncio.gather(*(turns.take("sweep", "noon") for turns in daemons))) == 1
    assert await daemons[0].take("sweep", "one o'clock")
    (key,) = await redis.keys("zmartd:task:sweep:noon")
    assert 0 < await redis.pttl(key) <= TURN_MILLISECONDS
    await redis.flushall()
    assert await daemons[1].take("sweep", "noon")


async def test_without_redis_every_daemon_has_the_turn_and_does_not_wait_for_it_each_time(
    lost_redis: Redis, silent_redis: Redis, redis: Redis
) -> None:
    for gone in (lost_redis, silent_redis):
        clock = ManualClock()
        turns = Turns(gone, "daemon", clock, patience_seconds=0.05)
        assert await turns.take("sweep", "noon")
        turns._redis = redis  # it is there again, and asked again only after a while
        await redis.set("zmartd:task:sweep:later", "another daemon")
        assert await turns.take("sweep", "later")
        clock.advance(UNAVAILABLE_SECONDS)
        assert not await turns.take("sweep", "later")


async def test_a_client_that_swallows_its_cancellation_holds_nobody_up(redis: Redis) -> None:
    class Stubborn(Redis):
        """As redis-py may be on Python 3.11."""

        async def set(self, *_: object, **__: object) -> None:
            while True:
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
                return

    let_go = asyncio.Event()
    turns = Turns(Stubborn(), "daemon", SystemClock(), patience_seconds=0.05)
    assert await turns.take("sweep", "noon")
    let_go.set()


async def test_a_key_that_does_not_end_keeps_nobody_from_an_occasion_for_ever(redis: Redis) -> None:
    clock = ManualClock()
    turns = Turns(redis, "daemon", clock, patience_seconds=SECONDS)
    await redis.set("zmartd:task:sweep:noon", "another daemon")
    await redis.set("zmartd:task:sweep:one", "another daemon")
    assert not await turns.take("sweep", "noon")
    clock.advance(REFUSED_TURNS * TURN_MILLISECONDS / 1_000 - 0.01)
    assert not await turns.take("sweep", "noon")
    clock.advance(0.01)
    assert not await turns.take("sweep", "one")
    assert await turns.take("sweep", "noon")
    assert not await turns.take("sweep", "noon")


async def test_a_turn_is_held_for_longer_or_let_go(redis: Redis) -> None:
    one, other = (Turns(redis, name, SystemClock(), patience_seconds=SECONDS) for name in ("one", "other"))
    assert await one.take("due", "look")
    await one.hold("due", "look", 60_000)
    assert TURN_MILLISECONDS < await redis.pttl("zmartd:task:due:look") <= 60_000
    assert not await other.take("due", "look", 60_000)
    await one.let_go("due", "look")
    async with asyncio.timeout(SECONDS):
        while not await other.take("due", "look", 60_000):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.001)
    await redis.flushall()
    await one.hold("due", "look", 60_000)
    assert not await other.take("due", "look", 60_000)


async def test_a_turn_that_is_held_for_long_is_refused_for_longer(redis: Redis) -> None:
    clock = ManualClock()
    turns = Turns(redis, "daemon", clock, patience_seconds=SECONDS)
    await redis.set("zmartd:task:due:look", "another daemon")
    assert not await turns.take("due", "look", 3_500)
    clock.advance(REFUSED_TURNS * 3.5 - 0.001)
    assert not await turns.take("due", "look", 3_500)
    clock.advance(0.001)
    assert await turns.take("due", "look", 3_500)
