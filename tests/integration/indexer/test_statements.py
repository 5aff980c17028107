"""How many statements it takes to apply what comes alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from tests.patience import patient_database
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.effects.markets import lock_markets
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Database]:
    """With one connection."""
    opened = await Database.connect(patient_database(database_url, pool_size=1))
    yield opened
    await opened.close()


@pytest.fixture
async def indexer(alone: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(alone, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def logged(database: Database) -> list[str]:
    """Grows by what is sent on the one connection from now on."""
    statements: list[str] = []

    def log(record: Any) -> None:
        statements.append(record.query)

    async with database.service() as connection:
        connection.add_query_logger(log)
    return statements


async def test_a_trade_takes_seven_statements(indexer: Indexer, alone: Database) -> None:
    story = Story(seed=7)
    story.create()
    story.open_for_trading()
    story.trade(3)
    *others, last = story.transactions
    await indexer.apply(others)
    statements = await logged(alone)
    assert (await indexer.apply([last])).new_events
    sent = [one for one in statements if not one.startswith(("BEGIN", "COMMIT"))]
    assert len(sent) == 7, sent


@pytest.mark.parametrize("missing", [True, False])
async def test_no_market_is_locked_before_a_missing_one_is_created(
    indexer: Indexer, alone: Database, database: Database, missing: bool
) -> None:
    """Another batch may have created it, and wait for one of the others."""
    story = Story(seed=7)
    story.create()
    await indexer.apply(story.transactions)
    there = story.market_id.hex()
    asked = {there, "f" * 64} if missing else {there}
    async with alone.service() as connection, database.service() as other:
        locked = await lock_markets(connection, asked, unless_one_is_missing=True)
        assert set(locked) == (set() if missing else {there})
        free = await other.fetch("select from markets where id = $1 for update skip locked", there)
        assert bool(free) is missing
