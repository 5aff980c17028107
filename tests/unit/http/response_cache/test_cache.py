from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.operation import LoadedBody
from zmartd.http.response_cache.cache import EVERY_MARKET, CacheKey, ResponseCache
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.messages import Gap, Message, VoteCast

A, B = "a" * 64, "b" * 64
MARKET, OTHER, LIST = CacheKey(A, "market"), CacheKey(B, "market"), CacheKey(EVERY_MARKET, "/api/markets?")


class StoppedClock:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


class Database:
    """A database that counts its reads, and can hold them up."""

    def __init__(self) -> None:
        self.value = b"old"
        self.reads = 0
        self.failing = False
        self._events: list[asyncio.Event] = []
        self._slow = False
        self._asked: asyncio.Queue[int] = asyncio.Queue()

    async def read(self) -> LoadedBody:
        self.reads += 1
        self._asked.put_nowait(self.reads)
        found = self.value
        if self._slow:
            self._events.append(asyncio.Event())
            await self._events[-1].wait()
        if self.failing:
            raise LookupError
        return LoadedBody(found)

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[Callable[[], None]]:
        self._slow = True
        yield self.release
        self.release()

    def release(self) -> None:
        for event in self._events:
            event.set()
        self._events.clear()

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(120):
            while await self._asked.get() < times:
                pass


def message_about(market: str) -> Message:
    vote = VoteCast(vote_type=VoteKind.PROPOSAL)
    return Message(market, vote, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def cache(clock: StoppedClock) -> ResponseCache:
    return ResponseCache(clock, max_age_seconds=2.0, max_bytes=10_000)


@pytest.fixture
def database() -> Database:
    return Database()


async def bodies(*waiting: asyncio.Task[TaggedResponse]) -> list[bytes]:
    return [response.body for response in await asyncio.gather(*waiting)]


async def until_loaded(cache: ResponseCache) -> None:
    async with asyncio.timeout(120):
        while cache.is_loading:  # noqa: ASYNC110 - it is a few turns of the loop away
            await asyncio.sleep(0)


async def test_a_response_is_loaded_once_and_then_comes_from_memory(
    cache: ResponseCache, database: Database
) -> None:
    first = await cache.get(MARKET, database.read)
    assert await cache.get(MARKET, database.read) is first
    assert database.reads == 1


@pytest.mark.parametrize("message", [message_about(A), Gap()])
async def test_a_message_about_its_market_invalidates_a_response(
    cache: ResponseCache, database: Database, message: Message | Gap
) -> None:
    await cache.get(MARKET, database.read)
    database.value = b"new"
    cache.invalidate(message)
    assert (await cache.get(MARKET, database.read)).body == b"new"


async def test_a_message_about_another_market_leaves_it_cached(
    cache: ResponseCache, database: Database
) -> None:
    await cache.get(MARKET, database.read)
    cache.invalidate(message_about(B))
    await cache.get(MARKET, database.read)
    assert database.reads == 1


async def test_a_message_about_any_market_invalidates_lists(cache: ResponseCache, database: Database) -> None:
    await cache.get(LIST, database.read)
    cache.invalidate(message_about(B))
    await cache.get(LIST, database.read)
    assert database.reads == 2


async def test_without_messages_a_response_expires_after_two_seconds(
    cache: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    await cache.get(MARKET, database.read)
    clock.now += 1.99
    await cache.get(MARKET, database.read)
    assert database.reads == 1
    clock.now += 0.02
    await cache.get(MARKET, database.read)
    assert database.reads == 2


async def test_a_response_that_is_asked_for_shortly_before_its_end_is_loaded_while_it_is_given(
    cache: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    await cache.get(MARKET, database.read)
    database.value = b"new"
    clock.now += 1.4
    assert cache.peek(MARKET, database.read) is not None
    assert not cache.is_loading
    clock.now += 0.2
    async with database.held_up():
        for _ in range(3):
            given = cache.peek(MARKET, database.read)
            assert given is not None
            assert given.body == b"old"
        await database.asked(2)
    await until_loaded(cache)
    clock.now += 1.0
    given = cache.peek(MARKET, database.read)
    assert given is not None
    assert given.body == b"new"
    assert database.reads == 2


async def test_a_response_that_cannot_be_loaded_before_its_end_is_given_until_then(
    cache: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    await cache.get(MARKET, database.read)
    database.failing = True
    clock.now += 1.6
    for _ in range(3):
        given = cache.peek(MARKET, database.read)
        assert given is not None
        assert given.body == b"old"
        await until_loaded(cache)
    assert database.reads == 2, "it was tried once"
    clock.now += 0.4
    assert cache.peek(MARKET, database.read) is None
    with pytest.raises(LookupError):
        await cache.get(MARKET, database.read)


async def test_a_message_while_a_response_is_loaded_before_its_end_invalidates_both(
    cache: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    await cache.get(MARKET, database.read)
    clock.now += 1.6
    async with database.held_up():
        assert cache.peek(MARKET, database.read) is not None
        await database.asked(2)
        cache.invalidate(message_about(A))
        assert cache.peek(MARKET, database.read) is None
    await until_loaded(cache)
    assert cache.peek(MARKET, database.read) is None


async def test_the_age_of_a_response_counts_from_the_start_of_its_load(
    cache: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    async with database.held_up() as release:
        first = asyncio.create_task(cache.get(MARKET, database.read))
        await database.asked(1)
        clock.now += 2.01
        release()
        await first
        again = asyncio.create_task(cache.get(MARKET, database.read))
        await database.asked(2)
        release()
        await again


async def test_concurrent_callers_share_one_load(cache: ResponseCache, database: Database) -> None:
    async with database.held_up() as release:
        waiting = [asyncio.create_task(cache.get(MARKET, database.read)) for _ in range(100)]
        await database.asked(1)
        release()
        assert await bodies(*waiting) == [b"old"] * 100
    assert database.reads == 1


async def test_a_caller_after_a_message_does_not_get_an_earlier_load(
    cache: ResponseCache, database: Database
) -> None:
    async with database.held_up() as release:
        before = asyncio.create_task(cache.get(MARKET, database.read))
        await database.asked(1)
        database.value = b"new"
        cache.invalidate(message_about(A))
        after = [asyncio.create_task(cache.get(MARKET, database.read)) for _ in range(10)]
        await asyncio.sleep(0)
        assert database.reads == 1, "one at a time"
        release()
        await database.asked(2)
        release()
        assert await bodies(before, *after) == [b"old"] + [b"new"] * 10
    assert (await cache.get(MARKET, database.read)).body == b"new"
    assert database.reads == 2


async def test_messages_during_every_load_delay_a_caller_by_two_loads_at_most(
    cache: ResponseCache, database: Database
) -> None:
    async with database.held_up() as release:
        first = asyncio.create_task(cache.get(MARKET, database.read))
        await database.asked(1)
        cache.invalidate(message_about(A))
        waiting = [asyncio.create_task(cache.get(MARKET, database.read)) for _ in range(5)]
        await asyncio.sleep(0)
        release()
        await database.asked(2)
        cache.invalidate(message_about(A))
        release()
        assert len(await bodies(first, *waiting)) == 6
    assert database.reads == 2


async def test_a_refresh_loads_although_a_response_is_cached(
    cache: ResponseCache, database: Database
) -> None:
    await cache.get(MARKET, database.read)
    database.value = b"unannounced"
    assert (await cache.refresh(MARKET, database.read)).body == b"unannounced"
    assert (await cache.get(MARKET, database.read)).body == b"unannounced"
    assert database.reads == 2


async def test_a_cancelled_caller_does_not_cancel_the_load(cache: ResponseCache, database: Database) -> None:
    async with database.held_up() as release:
        impatient = asyncio.create_task(cache.get(MARKET, database.read))
        patient = asyncio.create_task(cache.get(MARKET, database.read))
        await database.asked(1)
        impatient.cancel()
        await asyncio.wait([impatient])
        release()
        assert await bodies(patient) == [b"old"]
    assert database.reads == 1


async def test_an_error_reaches_every_caller_and_is_not_cached(
    cache: ResponseCache, database: Database
) -> None:
    database.failing = True
    results = await asyncio.gather(
        *(cache.get(MARKET, database.read) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [LookupError] * 3
    database.failing = False
    assert (await cache.get(MARKET, database.read)).body == b"old"


async def test_the_least_recently_used_is_dropped(cache: ResponseCache, database: Database) -> None:
    database.value = b"x" * 2_500
    for key in (MARKET, OTHER, MARKET, LIST):
        await cache.get(key, database.read)
    assert database.reads == 3
    await cache.get(MARKET, database.read)
    assert database.reads == 3
    await cache.get(OTHER, database.read)
    assert database.reads == 4


async def test_a_response_larger_than_the_cache_is_not_cached(
    cache: ResponseCache, database: Database
) -> None:
    database.value = b"x" * 10_001
    assert len((await cache.get(MARKET, database.read)).body) == 10_001
    await cache.get(MARKET, database.read)
    assert database.reads == 2


async def test_equal_bodies_have_equal_entity_tags_and_others_do_not(
    cache: ResponseCache, database: Database
) -> None:
    first = await cache.get(MARKET, database.read)
    cache.invalidate(Gap())
    assert (await cache.get(MARKET, database.read)).etag == first.etag
    cache.invalidate(Gap())
    database.value = b"new"
    assert (await cache.get(MARKET, database.read)).etag != first.etag
