from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, whole_life
from tests.integration.indexer.test_apply import projection
from zmartd.chain.codec import Codec
from zmartd.chain.idl import default_idl
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, Quarantined
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.readmission import Readmission, readmit
from zmartd.realtime.bus import Bus
from zmartd.store.pool import Database

CODEC = Codec(default_idl())


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, Bus(redis, SystemClock()), Pdas(PROGRAM))
    await redis.aclose()


def as_an_older_version_read_it(transaction: ChainTransaction) -> ChainTransaction:
    lines = [
        Quarantined(one.ordinal, CODEC.encode_event(one.event), "no event has this discriminator")
        for one in transaction.events
    ]
    return msgspec.structs.replace(transaction, events=(), quarantined=tuple(lines))


async def test_lines_that_can_be_read_now_lead_to_what_reading_them_at_once_would_have(
    indexer: Indexer, database: Database
) -> None:
    story = whole_life(seed=4, trades=12)
    strange = [tx for tx in story.transactions if "Shares" in type(tx.events[0].event).__name__]
    lines = sum(len(tx.events) for tx in strange)
    for transaction in story.transactions:
        await indexer.apply(
            [as_an_older_version_read_it(transaction) if transaction in strange else transaction]
        )
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from trades") == 0
    assert await readmit(database, indexer, CODEC) == Readmission(lines, 0)
    got = await projection(database)
    assert len(got["trades"]) == lines > 8
    (market,) = got["markets"]
    assert (market["shares_yes"], market["total_volume"]) == (story.q[True], story.volume)
    assert await readmit(database, indexer, CODEC) == Readmission(0, 0)


async def test_a_line_that_still_cannot_be_read_stays(indexer: Indexer, database: Database) -> None:
    first, second = whole_life(seed=5).transactions[:2]
    unreadable = Quarantined(7, b"\x01" * 30, "no event has this discriminator")
    await indexer.apply([msgspec.structs.replace(first, quarantined=(unreadable,))])
    await indexer.apply([as_an_older_version_read_it(second)])
    assert await readmit(database, indexer, CODEC) == Readmission(len(second.events), 1)
    async with database.service() as connection:
        rows = await connection.fetch("select event_index from quarantined_events where resolved_at is null")
    assert [row["event_index"] for row in rows] == [7]
