"""Texts that a creator registers while a daemon applies the creation of their market."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.beside import beside_each_other
from tests.integration.indexer.story import PROGRAM, B, Story
from tests.integration.store.rows import NOON
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.faults import Point
from zmartd.indexer.apply import Indexer
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store import metadata
from zmartd.store.metadata import MarketMetadata
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


@pytest.mark.parametrize("is_row_there", [False, True])
@pytest.mark.parametrize("point", [Point.APPLY_RECORDED, Point.APPLY_COUNTED, Point.APPLY_APPENDED])
async def test_the_market_gets_them(
    indexer: Indexer, database: Database, is_row_there: bool, point: Point
) -> None:
    """Also where an event that came before the creation has made its row."""
    story = Story(seed=5)
    story.create()
    story.open_for_trading()
    created, _, approved, _ = (story.transactions[0], *story.transactions[-3:])
    texts = MarketMetadata(
        market_id=story.market_id.hex(),
        creator_wallet=str(story.creator),
        on_chain_address=str(story.market),
        question="Will it rain in Zurich tomorrow?",
        description="",
        category="science",
        tags=(),
        end_date=NOON + timedelta(days=1),
        cid="Qm" + "a" * 44,
        document=b"{}",
        b_parameter=B,
        initial_liquidity=10**9,
    )
    if is_row_there:
        await indexer.apply([approved])

    async def register() -> None:
        async with database.caller(Caller(texts.creator_wallet)) as connection:
            await metadata.register(connection, texts, None)

    await beside_each_other(lambda: indexer.apply([created]), register, lambda here: here is point)
    async with database.service() as connection:
        assert await connection.fetchval("select question from markets") == texts.question
