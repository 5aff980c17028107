from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from zmartd.http.kit.etags import TaggedResponse
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
    """What is true, and how often it was asked; a reading takes until it is let go."""

    def __init__(self) -> None:
        self.truth = b"old"
        self.readings = 0
        self.failing = False
        self._let_go: list[asyncio.Event] = []
        self._slow = False
        self._asked: asyncio.Queue[int] = asyncio.Queue()

    async def read(self) -> bytes:
        self.readings += 1
        self._asked.put_nowait(self.readings)
        found = self.truth
        if self._slow:
            self._let_go.append(asyncio.Event())
            await self._let_go[-1].wait()
        if self.failing:
            raise LookupError
        return found

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[Callable[[], None]]:
        self._slow = True
        yield self.let_go
        self.let_go()

    def let_go(self) -> None:
        for event in self._let_go:
            event.set()
        self._let_go.clear()

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while await self._asked.get() < times:
                pass


def news(market: str) -> Message:
    cast = VoteCast(vote_type=VoteKind.PROPOSAL)
    return Message(market, 1, cast, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def answers(clock: StoppedClock) -> ResponseCache:
    return ResponseCache(clock, max_age_seconds=2.0, max_bytes=10_000)


@pytest.fixture
def database() -> Database:
    return Database()


async def bodies(*waiting: asyncio.Task[TaggedResponse]) -> list[bytes]:
    return [answer.body for answer in await asyncio.gather(*waiting)]


async def test_an_answer_is_read_once_and_then_comes_from_memory(
    answers: ResponseCache, database: Database
) -> None:
    first = await answers.get(MARKET, database.read)
    assert await answers.get(MARKET, database.read) is first
    assert database.readings == 1


@pytest.mark.parametrize("heard", [news(A), Gap()])
async def test_news_of_its_market_make_it_be_read_again(
    answers: ResponseCache, database: Database, heard: Message | Gap
) -> None:
    await answers.get(MARKET, database.read)
    database.truth = b"new"
    answers.invalidate(heard)
    assert (await answers.get(MARKET, database.read)).body == b"new"


async def test_news_of_another_market_leave_it_alone(answers: ResponseCache, database: Database) -> None:
    await answers.get(MARKET, database.read)
    answers.invalidate(news(B))
    await answers.get(MARKET, database.read)
    assert database.readings == 1


async def test_news_of_any_market_make_lists_be_read_again(
    answers: ResponseCache, database: Database
) -> None:
    await answers.get(LIST, database.read)
    answers.invalidate(news(B))
    await answers.get(LIST, database.read)
    assert database.readings == 2


async def test_without_any_news_it_lasts_two_seconds(
    answers: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    await answers.get(MARKET, database.read)
    clock.now += 1.99
    await answers.get(MARKET, database.read)
    assert database.readings == 1
    clock.now += 0.02
    await answers.get(MARKET, database.read)
    assert database.readings == 2


async def test_an_answer_is_as_old_as_the_beginning_of_its_reading(
    answers: ResponseCache, database: Database, clock: StoppedClock
) -> None:
    async with database.held_up() as let_go:
        first = asyncio.create_task(answers.get(MARKET, database.read))
        await database.asked(1)
        clock.now += 2.01
        let_go()
        await first
        again = asyncio.create_task(answers.get(MARKET, database.read))
        await database.asked(2)
        let_go()
        await again


async def test_many_who_ask_at_once_cause_one_reading(answers: ResponseCache, database: Database) -> None:
    async with database.held_up() as let_go:
        waiting = [asyncio.create_task(answers.get(MARKET, database.read)) for _ in range(100)]
        await database.asked(1)
        let_go()
        assert await bodies(*waiting) == [b"old"] * 100
    assert database.readings == 1


async def test_who_asks_after_the_news_is_not_given_what_was_read_before_them(
    answers: ResponseCache, database: Database
) -> None:
    async with database.held_up() as let_go:
        before = asyncio.create_task(answers.get(MARKET, database.read))
        await database.asked(1)
        database.truth = b"new"
        answers.invalidate(news(A))
        after = [asyncio.create_task(answers.get(MARKET, database.read)) for _ in range(10)]
        await asyncio.sleep(0)
        assert database.readings == 1, "one at a time"
        let_go()
        await database.asked(2)
        let_go()
        assert await bodies(before, *after) == [b"old"] + [b"new"] * 10
    assert (await answers.get(MARKET, database.read)).body == b"new"
    assert database.readings == 2


async def test_news_during_every_reading_hold_nobody_up_for_more_than_two(
    answers: ResponseCache, database: Database
) -> None:
    async with database.held_up() as let_go:
        first = asyncio.create_task(answers.get(MARKET, database.read))
        await database.asked(1)
        answers.invalidate(news(A))
        waiting = [asyncio.create_task(answers.get(MARKET, database.read)) for _ in range(5)]
        await asyncio.sleep(0)
        let_go()
        await database.asked(2)
        answers.invalidate(news(A))
        let_go()
        assert len(await bodies(first, *waiting)) == 6
    assert database.readings == 2


async def test_what_is_asked_for_anew_is_read_although_it_is_there(
    answers: ResponseCache, database: Database
) -> None:
    await answers.get(MARKET, database.read)
    database.truth = b"unannounced"
    assert (await answers.refresh(MARKET, database.read)).body == b"unannounced"
    assert (await answers.get(MARKET, database.read)).body == b"unannounced"
    assert database.readings == 2


async def test_who_gives_up_waiting_leaves_the_reading_to_the_others(
    answers: ResponseCache, database: Database
) -> None:
    async with database.held_up() as let_go:
        impatient = asyncio.create_task(answers.get(MARKET, database.read))
        patient = asyncio.create_task(answers.get(MARKET, database.read))
        await database.asked(1)
        impatient.cancel()
        await asyncio.wait([impatient])
        let_go()
        assert await bodies(patient) == [b"old"]
    assert database.readings == 1


async def test_a_failure_reaches_everybody_who_waited_and_is_not_kept(
    answers: ResponseCache, database: Database
) -> None:
    database.failing = True
    results = await asyncio.gather(
        *(answers.get(MARKET, database.read) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [LookupError] * 3
    database.failing = False
    assert (await answers.get(MARKET, database.read)).body == b"old"


async def test_the_least_recently_asked_for_goes_when_there_is_no_room(
    answers: ResponseCache, database: Database
) -> None:
    database.truth = b"x" * 2_500
    for key in (MARKET, OTHER, MARKET, LIST):
        await answers.get(key, database.read)
    assert database.readings == 3
    await answers.get(MARKET, database.read)
    assert database.readings == 3
    await answers.get(OTHER, database.read)
    assert database.readings == 4


async def test_what_is_larger_than_all_the_room_is_answered_and_not_kept(
    answers: ResponseCache, database: Database
) -> None:
    database.truth = b"x" * 10_001
    assert len((await answers.get(MARKET, database.read)).body) == 10_001
    await answers.get(MARKET, database.read)
    assert database.readings == 2


async def test_the_tag_tells_bodies_apart_and_stays_the_same_for_the_same_body(
    answers: ResponseCache, database: Database
) -> None:
    first = await answers.get(MARKET, database.read)
    answers.invalidate(Gap())
    assert (await answers.get(MARKET, database.read)).etag == first.etag
    answers.invalidate(Gap())
    database.truth = b"new"
    assert (await answers.get(MARKET, database.read)).etag != first.etag
