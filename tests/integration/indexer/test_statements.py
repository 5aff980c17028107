"""How many statements it takes to apply what comes alone, and how little of the index they write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from tests.integration.indexer.test_inbox import Transcript, as_told, delivery
from tests.patience import patient_database
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.effects.markets import lock_markets
from zmartd.indexer.inbox import Inbox
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

_MARKET = "select to_jsonb(markets) from markets"
_INDEXED = """
select attname::text from pg_index
  join pg_depend on classid = 'pg_class'::regclass and objid = indexrelid and refobjid = indrelid
  join pg_attribute on attrelid = indrelid and attnum = refobjsubid
 where indrelid = 'markets'::regclass
"""
"""The columns of all indexes of markets, of their expressions and conditions, too."""
CONNECTIONS = 2
"""One on which deliveries are taken, one on which they are applied."""


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Database]:
    """Of which this test knows all connections."""
    opened = await Database.connect(patient_database(database_url, pool_size=CONNECTIONS))
    yield opened
    await opened.close()


@pytest.fixture
async def indexer(alone: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(alone, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def logged(database: Database) -> list[str]:
    """Grows by what is sent on the connections from now on, but for the ends of transactions."""
    statements: list[str] = []

    def log(record: Any) -> None:
        if not record.query.startswith(("BEGIN", "COMMIT")):
            statements.append(record.query)

    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = await stack.enter_async_context(database.service())
            connection.add_query_logger(log)
    return statements


@pytest.fixture
async def story(indexer: Indexer) -> Story:
    """All is applied but its last two trades."""
    story = Story(seed=7)
    story.create()
    story.open_for_trading()
    for _ in range(5):
        story.trade(1)
    await indexer.apply(story.transactions[:-2])
    return story


async def test_a_trade_takes_seven_statements(indexer: Indexer, alone: Database, story: Story) -> None:
    before_last, last = story.transactions[-2:]
    await indexer.apply([before_last])
    statements = await logged(alone)
    assert (await indexer.apply([last])).new_events == 1
    assert len(statements) == 7, statements


async def test_a_delivery_takes_four_more(indexer: Indexer, alone: Database, story: Story) -> None:
    inbox = Inbox(alone, indexer, Transcript(story), SystemClock(), as_told())
    trades = len(story.transactions)
    await inbox.accept(delivery(trades - 2))
    assert await inbox.apply_batch() == 1  # the types of its arguments are known afterwards
    await inbox.accept(delivery(trades - 1))
    statements = await logged(alone)
    assert await inbox.apply_batch() == 1
    assert len(statements) == 11, statements


async def test_a_trade_changes_nothing_that_an_index_of_markets_has(
    indexer: Indexer, alone: Database, story: Story
) -> None:
    """Or each trade would write an entry into each of them, of all words of its market's texts, too."""
    async with alone.service() as connection:
        before = msgspec.json.decode(await connection.fetchval(_MARKET))
    await indexer.apply(story.transactions[-2:])
    async with alone.service() as connection:
        after = msgspec.json.decode(await connection.fetchval(_MARKET))
        indexed = {row["attname"] for row in await connection.fetch(_INDEXED)}
    changed = {column for column, value in after.items() if value != before[column]}
    assert {"total_volume", "trades_count", "slot"} <= changed
    assert {"search", "search_text", "state", "orphaned"} <= indexed
    assert not changed & indexed


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
