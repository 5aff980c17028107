"""The same event from two transactions, as after a fork, or by a delivery that lies."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, whole_life
from tests.integration.indexer.test_rollback import emptied, facts
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.market.ids import base58_encode
from zmartd.market.iso_time import utc_from_unix
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


def again(transaction: ChainTransaction, rng: random.Random, slots: int) -> ChainTransaction:
    """The same events in another transaction."""
    signature = base58_encode(rng.randbytes(64))
    return msgspec.structs.replace(transaction, signature=signature, slot=transaction.slot + slots)


@pytest.mark.parametrize("number", range(len(whole_life(3, trades=2).transactions)))
async def test_the_same_events_of_two_transactions_are_rebuilt_as_they_are_applied(
    indexer: Indexer, database: Database, database_url: str, number: int
) -> None:
    story = whole_life(3, trades=2)
    repeated = again(story.transactions[number], random.Random(number), slots=number % 2)
    await indexer.apply(story.transactions)
    expected = await facts(database)
    await indexer.apply([repeated])
    doubled = await facts(database)
    market = {story.market_id.hex(): str(story.market)}
    await indexer.replace_events(EventDiff(), market, {}, utc_from_unix(story.now))
    assert await facts(database) == doubled
    await indexer.roll_back([TransactionInSlot(repeated.slot, repeated.signature)])
    assert await facts(database) == expected

    await emptied(database, database_url)
    for transaction in [repeated, *story.transactions]:
        await indexer.apply([transaction])
    assert await facts(database) == doubled
    await emptied(database, database_url)
    await indexer.apply([*story.transactions, repeated])
    assert await facts(database) == doubled
