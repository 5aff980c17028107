"""Transactions that become final while a daemon rebuilds their market."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.beside import beside_each_other
from tests.integration.indexer.story import PROGRAM, Story
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.faults import Point
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
    final = [TransactionInSlot(one.slot, one.signature) for one in kept]
    await beside_each_other(
        lambda: indexer.roll_back([TransactionInSlot(lost.slot, lost.signature)]),
        lambda: indexer.promote(final, kept),
        lambda here: here is Point.APPLY_UNDONE,
    )
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from trades where commitment = 'finalized'") == 4
        assert await connection.fetchval(_DIFFERENT) == 0
