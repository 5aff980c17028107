from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct
from redis.asyncio import Redis

from tests.integration.realtime.listeners import RecordingWriter
from tests.integration.store.rows import NOON, insert_market, wallet
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.filters import Filter
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.live_votes import Entry, LiveVotes
from zmartd.realtime.messages import Message, Retraction, VoteCast
from zmartd.realtime.publisher import StreamPublisher
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.realtime.vote_totals import VoteTotals
from zmartd.store import markets, votes
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ACT_AS_SERVICE, Caller
from zmartd.store.streams import StreamPosition

CLOCK = SystemClock()


class Rig(Struct, frozen=True):
    database: Database
    publisher: StreamPublisher
    hub: Hub

    async def proposal(self, name: str = "m") -> str:
        async with self.database.service() as connection:
            return await insert_market(connection, name, MarketState.PROPOSED)

    async def vote(self, market: str, voter: str, *, is_published: bool = True) -> None:
        """A like, as the API takes it."""
        async with self.database.caller(Caller(wallet(voter))) as connection:
            cast = await votes.cast(connection, VoteKind.PROPOSAL, market, wallet(voter), True)
            await connection.execute(ACT_AS_SERVICE)
            message = Message(market, VoteCast(vote_type=VoteKind.PROPOSAL), cast.voted_at)
            told = await self.publisher.append(connection, [message])
        if is_published:
            await self.publisher.publish(told)

    async def take_back(self, market: str) -> None:
        """A fork takes all votes."""
        async with self.database.service() as connection:
            await connection.execute("delete from proposal_votes where market_id = $1", market)
            gone = Message(market, Retraction(kind="vote", record_id="v", slot=1), NOON, "confirmed")
            told = await self.publisher.append(connection, [gone])
        await self.publisher.publish(told)

    async def subscriber(self, name: str, chosen: Filter | None = None) -> RecordingWriter:
        writer = RecordingWriter()
        await self.hub.subscribe(self.hub.connect(writer), name, chosen=chosen)
        return writer


def counts(writer: RecordingWriter) -> list[dict[str, Any]]:
    return [frame for frame in writer.frames if frame["type"] == "vote_counts"]


def in_favour(writer: RecordingWriter) -> list[int]:
    return [frame["data"]["proposal_votes"]["in_favour"] for frame in counts(writer)]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    async with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def rig(database: Database, valkey: EmbeddedValkey) -> AsyncIterator[Rig]:
    async with a_rig(database, valkey) as rig:
        yield rig


@asynccontextmanager
async def a_rig(
    database: Database, valkey: EmbeddedValkey, kind: type[LiveVotes] = LiveVotes
) -> AsyncIterator[Rig]:
    redis = Redis.from_url(valkey.url)
    bus = Bus(redis, CLOCK)
    hub = Hub(bus, StreamHistory(database), config.RealtimeSettings(), CLOCK)
    totals = VoteTotals(hub, kind(redis, database, CLOCK), database, CLOCK)
    tasks = [asyncio.create_task(one.run()) for one in (hub, totals)]
    async with asyncio.timeout(120):
        await hub.listening()
    yield Rig(database, StreamPublisher(bus), hub)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await redis.aclose()


async def test_who_gets_votes_gets_counts_under_the_name_that_it_gave_the_market(rig: Rig) -> None:
    market = await rig.proposal()
    async with rig.database.service_reader() as connection:
        address = (await markets.get(connection, market)).on_chain_address
    by_id, by_address = await rig.subscriber(market), await rig.subscriber(address)
    everything = await rig.subscriber(EVERY_MARKET)
    of_votes = await rig.subscriber(market, Filter(kinds=frozenset({"vote"})))
    of_trades = await rig.subscriber(market, Filter(kinds=frozenset({"trade"})))
    for voter in ("alice", "bob", "carol"):
        await rig.vote(market, voter)
    for writer, name in ((by_id, market), (by_address, address), (everything, market), (of_votes, market)):
        await writer.until(lambda out: in_favour(out)[-1:] == [3])
        frame = counts(writer)[-1]
        assert frame["market_id"] == name
        assert set(frame) == {"type", "market_id", "timestamp", "data"}, "it is no part of the stream"
        data = frame["data"]
        assert data["proposal_votes"] == {"in_favour": 3, "against": 0, "total": 3}
        assert data["dispute_votes"] == {"in_favour": 0, "against": 0, "total": 0}
        assert (data["not_counted"], data["stream_position"].partition(":")[2]) == (0, "3")
    assert counts(of_trades) == []
    assert all(wallet(voter) not in str(counts(by_id)) for voter in ("alice", "bob", "carol"))


async def test_counts_follow_votes_that_a_fork_takes_and_that_nobody_published(rig: Rig) -> None:
    market, other = await rig.proposal(), await rig.proposal("other")
    writer, bystander = await rig.subscriber(market), await rig.subscriber(other)
    await rig.vote(market, "alice")
    await writer.until(lambda out: in_favour(out)[-1:] == [1])
    await rig.take_back(market)
    await writer.until(lambda out: in_favour(out)[-1:] == [0])
    await rig.vote(market, "bob", is_published=False)
    await writer.until(lambda out: in_favour(out)[-1:] == [1])
    assert counts(bystander) == []


async def test_counts_are_told_while_redis_is_away_and_after_it_has_forgotten(
    rig: Rig, valkey: EmbeddedValkey
) -> None:
    market = await rig.proposal()
    writer = await rig.subscriber(market)
    await rig.vote(market, "alice")
    await writer.until(lambda out: in_favour(out)[-1:] == [1])
    os.kill(valkey.pid, signal.SIGKILL)
    await valkey.stop()
    await rig.vote(market, "bob")
    await writer.until(lambda out: in_favour(out)[-1:] == [2])
    await valkey.start()
    await rig.vote(market, "carol")
    await writer.until(lambda out: in_favour(out)[-1:] == [3])
    assert in_favour(writer) == sorted(in_favour(writer))


async def test_counts_that_could_not_be_read_are_told_once_they_can(
    database: Database, valkey: EmbeddedValkey
) -> None:
    failures = 2

    class Unlucky(LiveVotes):
        """Postgres ends its first reads, as it does in a deadlock."""

        async def at(self, positions: Mapping[str, StreamPosition]) -> dict[str, Entry]:
            nonlocal failures
            if failures:
                failures -= 1
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            return await super().at(positions)

    async with a_rig(database, valkey, Unlucky) as rig:
        market = await rig.proposal()
        writer = await rig.subscriber(market)
        await rig.vote(market, "alice")
        await writer.until(lambda out: in_favour(out) == [1])
    assert failures == 0
