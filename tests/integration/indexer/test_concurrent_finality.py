"""Transactions that become final while a daemon rebuilds their market."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from tests.patience import SECONDS
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.faults import Point, watching
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

_DIFFERENT = """
select count(*) from trades join trade_events as event using (tx_signature, event_index)
 where trades.commitment <> event.commitment
"""


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def test_trades_are_as_final_as_their_events(indexer: Indexer, database: Database) -> None:
    story = Story(seed=8)
    story.create()
    story.open_for_trading()
    story.trade(5)
    *kept, lost = story.transactions
    await indexer.apply(story.transactions)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(here: Point) -> None:
        if here is Point.APPLY_UNDONE:
            arrived.set()
            await go_on.wait()

    with watching(hold):
        undoing = asyncio.create_task(indexer.roll_back([TransactionInSlot(lost.slot, lost.signature)]))
        async with asyncio.timeout(SECONDS):
            await arrived.wait()
            final = [TransactionInSlot(one.slot, one.signature) for one in kept]
            promoting = asyncio.create_task(indexer.promote(final, kept))
            await asyncio.wait([promoting], timeout=0.3)
            go_on.set()
            _, report = await asyncio.gather(undoing, promoting)
    assert report.promoted == len(kept)
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from trades where commitment = 'finalized'") == 4
        assert await connection.fetchval(_DIFFERENT) == 0
