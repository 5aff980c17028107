"""Who may vote on a dispute, computed from events in whatever order they arrive."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from solders.pubkey import Pubkey

from tests.integration.indexer.story import PROGRAM, Story
from zmartd.chain import events
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

SHARE = 10**9


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def electorate(database: Database, story: Story) -> dict[str, int]:
    async with database.service() as connection:
        rows = await connection.fetch(
            "select user_wallet, stake from dispute_electorate where market_id = $1", story.market_id.hex()
        )
    return {row["user_wallet"]: int(row["stake"]) for row in rows}


def open_market(seed: int) -> Story:
    story = Story(seed)
    story.create()
    story.open_for_trading()
    return story


def buy(story: Story, wallet: Pubkey, shares: int, cost: int) -> None:
    story.tell(events.SharesBought(story.market_id, wallet, True, shares, cost, 5 * 10**8, story.now))


def sell(story: Story, wallet: Pubkey, shares: int, proceeds: int) -> None:
    story.tell(events.SharesSold(story.market_id, wallet, True, shares, proceeds, 5 * 10**8, story.now))


def transfer(story: Story, giver: Pubkey, taker: Pubkey, shares: int) -> None:
    story.tell(events.SharesTransferred(story.market, giver, taker, True, shares))


def traded(story: Story) -> dict[str, int]:
    """Trades with a known result: the electorate, and each wallet's cost basis."""
    alice, bob, carol, dave = story.traders
    buy(story, alice, 4 * SHARE, 400)
    buy(story, alice, 4 * SHARE, 600)
    sell(story, alice, 2 * SHARE, 999)
    buy(story, bob, 3 * SHARE, 300)
    sell(story, bob, 3 * SHARE, 300)
    buy(story, carol, 1 * SHARE, 77)
    transfer(story, alice, dave, 3 * SHARE)
    return {str(alice): 375, str(carol): 77, str(dave): 0}


async def test_the_electorate_are_the_holders_at_the_resolution_with_what_their_shares_cost(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(1)
    expected = traded(story)
    await indexer.apply(story.transactions)
    assert await electorate(database, story) == {}

    story.resolve(False)
    await indexer.apply(story.transactions)

    assert await electorate(database, story) == expected


async def test_what_changes_hands_after_the_resolution_changes_no_electorate(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(2)
    expected = traded(story)
    story.resolve(False)
    late, (alice, bob, *_) = story.wallet(), story.traders
    buy(story, late, 5 * SHARE, 500)  # the program refuses it, and who forged it gains nothing by it
    transfer(story, alice, bob, 3 * SHARE)
    await indexer.apply(story.transactions)
    assert await electorate(database, story) == expected


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_arrival_gives_the_same_electorate(
    indexer: Indexer, database: Database, seed: int
) -> None:
    story = open_market(3)
    expected = traded(story)
    story.resolve(False)
    story.dispute()
    shuffled = list(story.transactions)
    random.Random(seed).shuffle(shuffled)
    for transaction in shuffled:
        await indexer.apply([transaction])
    assert await electorate(database, story) == expected


async def test_taking_back_a_trade_or_the_resolution_takes_back_what_it_decided(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(4)
    expected = traded(story)
    buy(story, story.traders[1], SHARE, 50)
    lost = story.transactions[-1]
    story.resolve(False)
    resolution = story.transactions[-1]
    await indexer.apply(story.transactions)
    assert await electorate(database, story) == {**expected, str(story.traders[1]): 50}

    await indexer.roll_back([TransactionInSlot(lost.slot, lost.signature)])
    assert await electorate(database, story) == expected
    await indexer.roll_back([TransactionInSlot(resolution.slot, resolution.signature)])
    assert await electorate(database, story) == {}
