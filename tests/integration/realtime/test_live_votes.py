from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.store.rows import insert_market, wallet
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.realtime.live_votes import PAUSE_SECONDS, Entry, LiveVotes
from zmartd.store import markets, streams, votes
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ACT_AS_SERVICE, Caller
from zmartd.store.streams import StreamPosition
from zmartd.store.votes import LiveCounts


class SetClock(SystemClock):
    """A clock whose monotonic time the test moves."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
async def live(database: Database, redis: Redis) -> LiveVotes:
    return LiveVotes(redis, database, SystemClock())


def likes(yes: int, no: int = 0) -> LiveCounts:
    return LiveCounts(VoteCounts(yes, no), VoteCounts(0, 0), 0)


async def proposal(database: Database, name: str = "m") -> str:
    async with database.service() as connection:
        return await insert_market(connection, name, MarketState.PROPOSED)


async def vote(database: Database, market: str, voter: str, *, is_told: bool = True) -> None:
    """A like, with its message in the market's stream, as the API does it."""
    async with database.caller(Caller(wallet(voter))) as connection:
        await votes.cast(connection, VoteKind.PROPOSAL, market, wallet(voter), True)
        if is_told:
            await connection.execute(ACT_AS_SERVICE)
            await streams.append(connection, [(f"market:{market}", b"{}")])


async def position(database: Database, market: str) -> StreamPosition:
    async with database.service_reader() as connection:
        found = await markets.position(connection, market)
    assert found is not None
    return found


async def shown(live: LiveVotes, database: Database, *asked: str) -> list[LiveCounts]:
    found = await live.at({market: await position(database, market) for market in asked})
    return [found[market].counts for market in asked]


def reads(source: str) -> float:
    return REGISTRY.get_sample_value("zmartd_vote_cache_reads_total", {"source": source}) or 0.0


async def test_counts_are_read_from_redis_until_the_market_changes(
    database: Database, live: LiveVotes
) -> None:
    market, other = await proposal(database), await proposal(database, "other")
    await vote(database, market, "alice")
    before = reads("redis"), reads("postgres")
    assert await shown(live, database, market, other) == [likes(1), likes(0)]
    assert (reads("redis") - before[0], reads("postgres") - before[1]) == (0, 2)
    assert await shown(live, database, market, other) == [likes(1), likes(0)]
    assert (reads("redis") - before[0], reads("postgres") - before[1]) == (2, 2)
    # What another writer left out of the stream shows that this answer was Redis'.
    await vote(database, market, "eve", is_told=False)
    assert await shown(live, database, market) == [likes(1)]
    await vote(database, market, "bob")
    assert await shown(live, database, market, other) == [likes(3), likes(0)]
    assert (reads("redis") - before[0], reads("postgres") - before[1]) == (4, 3)


async def test_a_reader_that_was_slow_replaces_nothing_newer(
    database: Database, redis: Redis, live: LiveVotes
) -> None:
    market = await proposal(database)
    await vote(database, market, "alice")
    async with database.service_reader() as connection:
        ((read, counts),) = (await votes.live(connection, [market])).values()
    slow = {market: Entry(market, read.epoch, read.seq, counts)}
    await vote(database, market, "bob")
    assert await shown(live, database, market) == [likes(2)]
    newest = await redis.get(f"votes:{market}")
    await live._store(slow)
    assert await redis.get(f"votes:{market}") == newest
    # Of another epoch, or of none, is what another database had: it is written over, and read by nobody.
    await redis.set(f"votes:{market}", msgspec.json.encode({"epoch": "f" * 16, "seq": 9_000, "counts": {}}))
    assert await shown(live, database, market) == [likes(2)]
    assert await redis.get(f"votes:{market}") == newest
    assert 0 < await redis.ttl(f"votes:{market}") <= 600


async def test_readers_who_ask_at_once_for_a_market_that_redis_lacks_share_one_count(
    tmp_path: Path, database: Database
) -> None:
    nowhere = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    live = LiveVotes(nowhere, database, SetClock())
    market = await proposal(database)
    await vote(database, market, "alice")
    at = {market: await position(database, market)}
    assert (await live.at(at))[market].counts == likes(1)
    before = reads("postgres")
    found = await asyncio.gather(*(live.at(at) for _ in range(50)))
    assert {one[market].counts for one in found} == {likes(1)}
    assert reads("postgres") - before == 1
    await nowhere.aclose()


async def test_a_reader_gets_no_count_that_was_under_way_before_its_market_changed(
    database: Database, live: LiveVotes
) -> None:
    market = await proposal(database)
    for number in range(20):
        early = asyncio.create_task(shown(live, database, market))
        await asyncio.sleep(0)
        await vote(database, market, f"voter {number}")
        assert await shown(live, database, market) == [likes(number + 1)]
        await early


@pytest.mark.parametrize("garbage", [b"", b"null", b"7", b"{}", b'{"seq":"x"}', b"\xff", b"[[[["])
async def test_what_somebody_else_wrote_there_is_written_over(
    database: Database, redis: Redis, live: LiveVotes, garbage: bytes
) -> None:
    market = await proposal(database)
    await vote(database, market, "alice")
    await redis.set(f"votes:{market}", garbage)
    assert await shown(live, database, market) == [likes(1)]
    assert b'"seq":1' in (await redis.get(f"votes:{market}") or b"")


async def test_a_key_of_another_kind_is_written_over(
    database: Database, redis: Redis, live: LiveVotes
) -> None:
    market = await proposal(database)
    await redis.rpush(f"votes:{market}", "x")
    assert await shown(live, database, market) == [likes(0)]
    assert b'"seq":0' in (await redis.get(f"votes:{market}") or b"")


async def test_an_entry_of_one_market_is_none_of_another(
    database: Database, redis: Redis, live: LiveVotes
) -> None:
    market, other = await proposal(database), await proposal(database, "other")
    await vote(database, market, "alice")
    async with database.service() as connection:
        await streams.append(connection, [(f"market:{other}", b"{}")])
    assert await shown(live, database, market, other) == [likes(1), likes(0)]
    await redis.copy(f"votes:{market}", f"votes:{other}", replace=True)
    assert await shown(live, database, market, other) == [likes(1), likes(0)]


async def test_what_redis_forgets_or_has_of_a_vote_that_was_taken_back_is_counted_again(
    database: Database, redis: Redis, live: LiveVotes
) -> None:
    market = await proposal(database)
    await vote(database, market, "alice")
    assert await shown(live, database, market) == [likes(1)]
    await redis.flushall()
    assert await shown(live, database, market) == [likes(1)]
    async with database.service() as connection:
        await connection.execute("delete from proposal_votes where market_id = $1", market)
        await streams.append(connection, [(f"market:{market}", b"{}")])
    assert await shown(live, database, market) == [likes(0)]


async def test_without_redis_votes_are_counted_and_it_is_asked_again_after_a_second(
    tmp_path: Path, database: Database
) -> None:
    market = await proposal(database)
    clock = SetClock()
    async with EmbeddedValkey(tmp_path / "valkey") as valkey:
        client = Redis.from_url(valkey.url, retry=Retry(NoBackoff(), 0))
        live = LiveVotes(client, database, clock)
        assert await shown(live, database, market) == [likes(0)]
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            await vote(database, market, "alice")
            async with asyncio.timeout(60):
                assert await shown(live, database, market) == [likes(1)]
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        before = reads("redis")
        await vote(database, market, "bob")
        assert await shown(live, database, market) == [likes(2)]
        assert await shown(live, database, market) == [likes(2)]
        assert reads("redis") == before, "Redis was asked although it had just not answered"
        clock.now += PAUSE_SECONDS
        assert await shown(live, database, market) == [likes(2)]
        assert await shown(live, database, market) == [likes(2)]
        assert reads("redis") > before
        await client.aclose()
    live = LiveVotes(client, database, clock)
    assert await shown(live, database, market) == [likes(2)]
