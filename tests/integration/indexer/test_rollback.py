from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from tests.conftest import EMPTY
from tests.integration.indexer.story import PROGRAM, Story, whole_life
from tests.outside_servers import as_administrator
from tests.statements import execute
from zmartd.chain.events import SharesBought, WinningsClaimed
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, Quarantined
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import event_row
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.indexer.rebuild.markets import RESET_MARKETS
from zmartd.indexer.replay.checksums import CHECKED_TABLES
from zmartd.market.lmsr import SCALE
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import MarketUpdate, PriceUpdate
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

PDAS = Pdas(PROGRAM)


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), PDAS)
    await redis.aclose()


def recorded(transactions: list[ChainTransaction]) -> list[TransactionInSlot]:
    return [TransactionInSlot(tx.slot, tx.signature) for tx in transactions]


async def facts(database: Database) -> dict[str, object]:
    """What derives from the chain, and all votes."""
    async with database.service() as connection:
        votes = [
            [
                tuple(row)
                for row in await connection.fetch(
                    f"select market_id, user_wallet, vote, source, tx_signature from {table} order by 1, 2"
                )
            ]
            for table in ("proposal_votes", "dispute_votes")
        ]
        rows = {
            table: [json.loads(row["fact"]) for row in await connection.fetch(query, list(left_out))]
            for table, (query, left_out) in CHECKED_TABLES.items()
        }
        return {
            f"{table} {place}": fact
            for table, facts in {**rows, "votes": votes}.items()
            for place, fact in enumerate(facts)
        }


async def emptied(database: Database, database_url: str) -> None:
    await execute(as_administrator(database_url), EMPTY)


async def fetch(database: Database, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.service() as connection:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]


def shuffled_batches(
    rng: random.Random, transactions: list[ChainTransaction]
) -> list[list[ChainTransaction]]:
    order = transactions.copy()
    rng.shuffle(order)
    batches = []
    while order:
        size = rng.randint(1, 12)
        batches.append(order[:size])
        order = order[size:]
    return batches


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_rolled_back_the_index_is_as_if_it_had_never_been(
    indexer: Indexer, database: Database, database_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    stories = [whole_life(10 * seed + number, trades=12) for number in range(3)]
    transactions = [tx for story in stories for tx in story.transactions]
    landed_again = [
        msgspec.structs.replace(tx, slot=tx.slot + rng.choice([0, 2, 40]))
        for tx in rng.sample(transactions, 6)
    ]
    # Every market was created in the end: without a market there are no events of it.
    later = [tx for story in stories for tx in story.transactions[1:]]
    gone = {tx.signature for tx in landed_again + rng.sample(later, 9)}
    remaining = [tx for tx in transactions if tx.signature not in gone] + landed_again
    await indexer.apply(remaining)
    expected = await facts(database)
    await emptied(database, database_url)

    lost = [tx for tx in transactions if tx.signature in gone]
    for batch in shuffled_batches(rng, transactions):
        await indexer.apply(batch)
        if rng.random() < 0.3:
            await indexer.roll_back(recorded(rng.sample(lost, 3)))
            await indexer.apply(rng.sample(lost, 2))
    while lost:
        rollback, lost = lost[:5], lost[5:]
        await indexer.roll_back(recorded(rollback))
    for batch in shuffled_batches(rng, landed_again):
        await indexer.apply(batch)

    assert await facts(database) == expected


async def test_daemons_that_roll_back_and_apply_at_the_same_time_agree_in_the_end(
    indexer: Indexer, database: Database, database_url: str
) -> None:
    rng = random.Random(5)
    story = whole_life(5, trades=60)
    lost = story.transactions[10:60:5]
    kept = [tx for tx in story.transactions if tx not in lost]
    await indexer.apply(kept)
    expected = await facts(database)
    await emptied(database, database_url)

    await indexer.apply([*story.transactions[:30], *lost])
    await asyncio.gather(
        *(indexer.roll_back(recorded([tx])) for tx in lost),
        *(indexer.roll_back(recorded(lost)) for _ in range(2)),
        *(indexer.apply(batch) for batch in shuffled_batches(rng, kept)),
    )

    assert await facts(database) == expected


async def test_a_market_whose_creation_is_rolled_back_is_hidden_and_not_deleted(
    indexer: Indexer, database: Database
) -> None:
    story = Story(1)
    story.create()
    await indexer.apply(story.transactions)
    market_id, voter = story.market_id.hex(), str(story.traders[0])
    async with database.service() as connection:
        await connection.execute(
            "insert into proposal_votes (market_id, user_wallet, vote) values ($1, $2, true)",
            market_id,
            voter,
        )
    (version,) = (await fetch(database, "select version from markets"))[0]
    rollback = await indexer.roll_back(recorded(story.transactions))
    assert rollback.events == 1
    orphan = await fetch(
        database, "select orphaned, chain_confirmed, creator_wallet, shares_yes, version from markets"
    )
    assert orphan == [(True, False, None, 0, version + 1)]
    await indexer.apply(story.transactions)
    market = await fetch(database, "select orphaned, chain_confirmed, version from markets")
    assert market == [(False, True, version + 2)]
    assert await fetch(database, "select user_wallet, source from proposal_votes") == [(voter, "api")]


async def test_what_was_rolled_back_can_be_looked_up(indexer: Indexer, database: Database) -> None:
    story = Story(2)
    story.create()
    story.open_for_trading()
    story.trade(1)
    await indexer.apply(story.transactions)
    trade = story.transactions[-1]
    bought = trade.events[0].event
    assert isinstance(bought, SharesBought)
    await indexer.roll_back(recorded([trade]))
    assert await fetch(
        database,
        "select source, tx_signature, slot, market_id, content -> 'payload' ->> 'shares'"
        "  from orphaned_events",
    ) == [
        (
            "trade_events",
            trade.signature,
            trade.slot,
            story.market_id.hex(),
            str(bought.shares),
        )
    ]


async def test_a_rollback_publishes_the_state_without_the_transactions(indexer: Indexer) -> None:
    story = Story(3)
    story.create()
    story.open_for_trading()
    before = story._price()
    story.trade(1)
    *_, last = (await indexer.apply(story.transactions)).messages
    *_, price, market = (await indexer.roll_back(recorded(story.transactions[-1:]))).messages
    assert isinstance(price.data, PriceUpdate)
    assert isinstance(market.data, MarketUpdate)
    assert price.data.price_yes == before == SCALE // 2
    assert market.data.total_volume_lamports == 0
    assert (price.seq, market.seq) == (last.seq + 2, last.seq + 3)


async def test_trades_that_stay_keep_their_ids(indexer: Indexer, database: Database) -> None:
    story = Story(4)
    story.create()
    story.open_for_trading()
    story.trade(10)
    await indexer.apply(story.transactions, "finalized")
    query = "select id, tx_signature, event_index, created_at, commitment from trades order by id"
    lost = story.transactions[-1]
    kept = [row for row in await fetch(database, query) if row[1] != lost.signature]
    await indexer.roll_back(recorded([lost]))
    assert await fetch(database, query) == kept


async def test_a_transaction_that_landed_again_is_not_rolled_back_for_its_old_slot(
    indexer: Indexer, database: Database
) -> None:
    story = Story(6)
    story.create()
    (created,) = story.transactions
    await indexer.apply([msgspec.structs.replace(created, slot=created.slot + 7)])
    rollback = await indexer.roll_back(recorded([created]))
    assert (rollback.events, rollback.messages) == (0, ())


async def test_a_line_in_quarantine_leaves_with_its_transaction(indexer: Indexer, database: Database) -> None:
    story = Story(7)
    story.create()
    line = Quarantined(1, b"\1" * 9, "unknown discriminator")
    transaction = msgspec.structs.replace(story.transactions[0], quarantined=(line,))
    await indexer.apply([transaction])
    await indexer.roll_back(recorded([transaction]))
    assert await fetch(database, "select * from quarantined_events") == []
    assert await fetch(database, "select source from orphaned_events order by source") == [
        ("market_events",),
        ("quarantined_events",),
    ]


async def test_a_market_that_only_the_address_in_an_event_names_is_rebuilt_with_it(
    indexer: Indexer, database: Database
) -> None:
    story = whole_life(8, trades=6)
    await indexer.apply(story.transactions)
    expected = await facts(database)
    claim = next(tx for tx in story.transactions if isinstance(tx.events[0].event, WinningsClaimed))
    await indexer.roll_back(recorded([claim]))
    assert await facts(database) != expected
    row = event_row(claim, claim.events[0], PDAS)
    await indexer.replace_events(EventDiff(to_record=(row,)), {}, {}, row.occurred_at)
    assert await facts(database) == expected


async def test_a_column_of_a_market_is_derived_again_or_kept_on_purpose(database: Database) -> None:
    """A column of another kind has to be named here, and left out by `zmartd.indexer.replay.checksums`."""
    kept = {
        *("id", "on_chain_address", "discussion_snapshot_cid", "created_at", "updated_at", "version"),
        *("search", "search_text"),  # a trigger sets them
        *("current_price_yes", "current_price_no"),  # follow from the shares
        "resolved_in",  # a change of it shelves opinions
    }
    async with database.service() as connection:
        columns = await connection.fetch(
            "select attname from pg_attribute where attrelid = 'markets'::regclass"
            " and attnum > 0 and not attisdropped and attgenerated = ''"
        )
    derived = set(re.findall(r"(\w+) = (?:default|true)", RESET_MARKETS))
    assert derived | kept == {row["attname"] for row in columns} | kept
    assert not derived & kept
