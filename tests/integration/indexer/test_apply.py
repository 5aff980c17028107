from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.integration.indexer.story import INITIAL_LIQUIDITY, PROGRAM, B, Story, whole_life
from zmartd.chain import events
from zmartd.chain.events import ConfigUpdated, WinningsClaimed
from zmartd.chain.payments import ResolverPayment
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, Quarantined
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import MarketUpdate, PriceUpdate, TradeExecuted, VoteCast
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

PROJECTION = {
    "markets": "select * from markets order by id",
    "trades": "select *, null as created_at from trades order by tx_signature, event_index",
    "user_positions": "select * from user_positions order by market_id, user_wallet",
    "dispute_electorate": "select * from dispute_electorate order by market_id, user_wallet",
    "proposal_votes": "select * from proposal_votes order by market_id, user_wallet",
    "dispute_votes": "select * from dispute_votes order by market_id, user_wallet",
    "market_events": "select * from market_events order by tx_signature, event_index",
    "trade_events": "select * from trade_events order by tx_signature, event_index",
    "vote_events": "select * from vote_events order by tx_signature, event_index",
    "admin_events": "select * from admin_events order by tx_signature, event_index",
}
ARRIVAL = {"id", "received_at", "updated_at", "version", "search"}
"""Columns that depend on when and in which order events arrived."""


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def projection(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.service() as connection:
        return {
            table: [
                {name: value for name, value in row.items() if name not in ARRIVAL}
                for row in await connection.fetch(query)
            ]
            for table, query in PROJECTION.items()
        }


async def forget(database: Database) -> None:
    async with database.service() as connection:
        for table in reversed(PROJECTION):
            await connection.execute(f"delete from {table} where true")
        await connection.execute("delete from protocol_config_history where true")


async def market_row(database: Database, story: Story) -> dict[str, Any]:
    async with database.service() as connection:
        row = await connection.fetchrow("select * from markets where id = $1", story.market_id.hex())
    assert row is not None
    return dict(row)


async def test_a_whole_life_leads_to_the_numbers_of_the_program(indexer: Indexer, database: Database) -> None:
    story = whole_life(seed=1)
    applied = await indexer.apply(story.transactions)
    assert applied.new_events == sum(len(tx.events) for tx in story.transactions)
    market = await market_row(database, story)
    assert market["state"] == "FINALIZED"
    assert market["final_outcome"] is True
    assert market["was_disputed"] is True
    assert (market["shares_yes"], market["shares_no"]) == (story.q[True], story.q[False])
    assert (market["dispute_agree"], market["dispute_disagree"]) == (3, 1)
    assert market["total_volume"] == story.volume
    assert market["current_liquidity"] == story.liquidity
    assert market["accumulated_protocol_fees"] == story.fees[0]
    assert (market["resolver_fees_earned"], market["lp_fees_earned"]) == (story.fees[1], story.fees[2])
    assert (market["accumulated_resolver_fees"], market["accumulated_lp_fees"]) == (0, 0)
    assert market["liquidity_withdrawn"] == 123_456
    assert market["claimed_total"] == story.claimed > 0
    assert market["ipfs_question_hash"] == "Qm" + "a" * 44
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from trades where not exact") == 0
        positions = await connection.fetch("select * from user_positions")
    for position in positions:
        trader = next(one for one in story.traders if str(one) == position["user_wallet"])
        assert position["shares_yes"] == story.held.get((trader, True), 0)
        assert position["shares_no"] == story.held.get((trader, False), 0)
        assert position["total_invested"] == story.invested.get(trader, 0)
        assert position["has_claimed"] is bool(story.held.get((trader, True), 0))


@pytest.mark.parametrize("seed", range(4))
async def test_duplicates_and_any_order_lead_to_the_same_rows(
    indexer: Indexer, database: Database, seed: int
) -> None:
    stories = [whole_life(seed=10 + seed, trades=24), traded_earlier(seed=50 + seed)]
    everything = [tx for story in stories for tx in story.transactions]
    everything.sort(key=lambda tx: tx.slot)
    await indexer.apply(everything)
    in_order = await projection(database)
    await forget(database)
    for batch in shuffled_with_duplicates(everything, seed):
        await indexer.apply(batch)
    assert differences(in_order, await projection(database)) == []


async def test_trades_in_the_slot_of_a_change_of_fees_are_charged_what_was_in_force(
    indexer: Indexer, database: Database
) -> None:
    """Before it and after it, in its transaction, and where only the place in the block tells which."""
    story = Story(seed=77)
    story.create()
    story.open_for_trading()
    story.trade(3)
    story.tell(story._buy())
    story.rates = (100, 50, 25)
    changed = ConfigUpdated(*story.rates, 7_000, 6_000, 86_400, 259_200, story.now)
    story.tell(changed, story._buy(), slots=0)
    story.tell(story._buy(), slots=0)
    # The same in all, divided otherwise: the amounts do not tell which of the two it was.
    story.tell(story._buy(), slots=5)
    start = len(story.transactions) - 1
    story.rates = (25, 50, 100)
    story.tell(ConfigUpdated(*story.rates, 7_000, 6_000, 86_400, 259_200, story.now), slots=0)
    story.tell(story._buy(), slots=0)
    for place, index in zip((0, 1, 2), (4, 5, 9), strict=True):
        placed = replace(story.transactions[start + place], index_in_block=index)
        story.transactions[start + place] = placed
    rng = random.Random(3)
    for _ in range(4):
        for transaction in rng.sample(story.transactions, len(story.transactions)):
            await indexer.apply([transaction])
        market = await market_row(database, story)
        earned = ("accumulated_protocol_fees", "resolver_fees_earned", "lp_fees_earned")
        assert [market[name] for name in earned] == story.fees
        assert (market["total_volume"], market["current_liquidity"]) == (story.volume, story.liquidity)
        async with database.service() as connection:
            assert await connection.fetchval("select count(*) from trades where not exact") == 0
        await forget(database)


def placed(transactions: Iterable[ChainTransaction]) -> list[ChainTransaction]:
    """With their places in the block, an order that is not that of their signatures."""
    return [
        replace(tx, index_in_block=index, signature=f"{9 - index % 9}{tx.signature[1:]}")
        for index, tx in enumerate(transactions, start=1)
    ]


def crowded_slots(seed: int) -> Story:
    """Many things in one slot each, so that only their places in the block tell what came last."""
    story = Story(seed)
    story.create()
    for likes in (3, 5, 1):
        story.tell(events.ProposalAggregated(story.market_id, likes, 1, 75, True, story.now), slots=0)
    story.tell(events.ProposalApproved(story.market_id, story.authority, story.now), slots=0)
    story.tell(events.MarketActivated(story.market_id, story.creator, INITIAL_LIQUIDITY, story.now), slots=0)
    story.trade(3)
    for paused in (True, False, True):
        told = events.ProtocolPauseStatusChanged(paused, story.authority, story.now)
        story.tell(told, slots=1 if story.slot < 1_010 else 0)
    for fee in (5, 7, 6):
        story.tell(ConfigUpdated(fee, 1, 1, 7_000, 6_000, 86_400, 259_200, story.now), slots=0)
    story.rates = (6, 1, 1)
    story.slot += 1
    story.trade(4)
    story.resolve(True)
    for place, trader in enumerate(story.traders[:3]):
        story.tell(events.DisputeInitiated(story.market_id, trader, True, story.now), slots=int(place == 0))
        if place < 2:
            counted = events.DisputeAggregated(story.market_id, 7 + place, 1, 70, True, story.now)
            story.tell(counted, slots=0)
    story.transactions = placed(story.transactions)
    return story


async def test_what_shares_a_slot_has_the_order_of_the_block_whichever_arrives_first(
    indexer: Indexer, database: Database
) -> None:
    """Also where the places come later, in any order, by another delivery or with the finality."""
    story = crowded_slots(seed=6)
    final = [TransactionInSlot(tx.slot, tx.signature) for tx in story.transactions]
    await indexer.apply(story.transactions)
    in_order = await projection(database)
    (market,), configuration = in_order["markets"], await configured(database)
    assert (market["state"], market["dispute_initiator"]) == ("DISPUTED", str(story.traders[2]))
    assert (market["proposal_likes"], market["dispute_agree"]) == (1, 0)
    assert configuration == (True, 6)
    rng = random.Random(8)
    unplaced = [replace(tx, index_in_block=None) for tx in story.transactions]
    guesses = []
    for source in ("delivered so", "delivered again", "final"):
        for _ in range(3):
            await forget(database)
            for tx in rng.sample(story.transactions if source == "delivered so" else unplaced, len(unplaced)):
                await indexer.apply([tx])
            if source == "delivered again":
                guesses.append((await projection(database), await configured(database)))
                for tx in rng.sample(story.transactions, len(story.transactions)):
                    await indexer.apply([tx])
            elif source == "final":
                await indexer.promote(final, story.transactions)
            got = await projection(database)
            if source != "final":
                assert differences(in_order, got) == []
            else:
                assert {find for find in differences(in_order, got) if "commitment" not in find} == set()
            assert await configured(database) == configuration
    for guess, config in guesses[1:]:
        assert differences(guesses[0][0], guess) == []
        assert config == guesses[0][1]


async def configured(database: Database) -> tuple[Any, ...]:
    async with database.service() as connection:
        (row,) = await connection.fetch("select is_paused, protocol_fee_bps from protocol")
    return tuple(row)


def differences(expected: dict[str, list[dict[str, Any]]], got: dict[str, list[dict[str, Any]]]) -> list[str]:
    found: list[str] = []
    for table, rows in expected.items():
        assert len(rows) == len(got[table]), table
        for row, other in zip(rows, got[table], strict=True):
            found += [f"{table}.{k}: {row[k]} != {other[k]}" for k in row if row[k] != other[k]]
    return found


def traded_earlier(seed: int) -> Story:
    """A market that is final before the other one's story changes the fee rates, which all markets share."""
    story = Story(seed, slot=500)
    story.create()
    story.open_for_trading()
    story.trade(10)
    return story


def shuffled_with_duplicates(
    transactions: list[ChainTransaction], seed: int
) -> Iterable[list[ChainTransaction]]:
    rng = random.Random(seed)
    deliveries = transactions + rng.sample(transactions, len(transactions) // 3)
    rng.shuffle(deliveries)
    while deliveries:
        size = rng.randint(1, 7)
        yield deliveries[:size]
        deliveries = deliveries[size:]


async def test_concurrent_daemons_applying_the_same_transactions_count_each_once(
    indexer: Indexer, database: Database
) -> None:
    story = whole_life(seed=3, trades=20)
    batches = list(shuffled_with_duplicates(story.transactions, 3))
    results = await asyncio.gather(*(indexer.apply(batch) for batch in batches))
    assert sum(result.new_events for result in results) == sum(len(tx.events) for tx in story.transactions)
    market = await market_row(database, story)
    assert market["total_volume"] == story.volume
    assert market["current_liquidity"] == story.liquidity


async def test_a_resolver_who_could_not_be_paid_is_still_owed(indexer: Indexer, database: Database) -> None:
    story = Story(seed=9)
    story.create()
    story.open_for_trading()
    story.trade(6)
    story.resolve(True)
    story.finalize(True, disputed=False)
    trader = story.traders[0]
    story.tell(WinningsClaimed(story.market, trader, True, 1_000, story.now))
    await indexer.apply(story.transactions)
    assert (await market_row(database, story))["accumulated_resolver_fees"] == story.fees[1]
    before = len(story.transactions)
    story.tell(
        WinningsClaimed(story.market, story.traders[1], True, 1_000, story.now),
        payments=(ResolverPayment(story.market, story.fees[1]),),
    )
    await indexer.apply(story.transactions[before:])
    assert (await market_row(database, story))["accumulated_resolver_fees"] == 0


async def test_a_late_event_does_not_move_a_market_backwards(indexer: Indexer, database: Database) -> None:
    story = Story(seed=4)
    story.create()
    story.open_for_trading()
    *earlier, approved, activated = story.transactions
    await indexer.apply([activated])
    assert (await market_row(database, story))["state"] == "ACTIVE"
    await indexer.apply([approved])
    await indexer.apply(earlier)
    market = await market_row(database, story)
    assert market["state"] == "ACTIVE"
    assert market["approved_at"] is not None
    assert market["chain_confirmed"] is True


async def test_a_failed_transaction_changes_nothing(indexer: Indexer, database: Database) -> None:
    story = Story(seed=5)
    story.create()
    failed = {**{name: getattr(story.transactions[0], name) for name in ChainTransaction.__struct_fields__}}
    applied = await indexer.apply([ChainTransaction(**{**failed, "succeeded": False})])
    assert applied.new_events == 0
    assert await projection(database) == {table: [] for table in PROJECTION}


async def test_data_that_nobody_can_decode_is_kept_once(indexer: Indexer, database: Database) -> None:
    story = Story(seed=6)
    story.tell()
    fields = {name: getattr(story.transactions[0], name) for name in ChainTransaction.__struct_fields__}
    odd = ChainTransaction(**{**fields, "quarantined": (Quarantined(0, b"\1\2\3", "unknown discriminator"),)})
    await indexer.apply([odd])
    await indexer.apply([odd])
    async with database.service() as connection:
        rows = await connection.fetch("select data, reason from quarantined_events")
    assert [(row["data"], row["reason"]) for row in rows] == [(b"\1\2\3", "unknown discriminator")]


async def test_subscribers_are_told_of_trades_price_votes_and_state(indexer: Indexer) -> None:
    story = Story(seed=7)
    story.create()
    story.open_for_trading()
    opening = await indexer.apply(story.transactions)
    assert [type(message.data) for message in opening.messages] == [VoteCast] * 4 + [MarketUpdate]
    update = opening.messages[-1].data
    assert isinstance(update, MarketUpdate)
    assert (update.action, update.state.name) == ("created", "ACTIVE")
    before = len(story.transactions)
    story.trade(1)
    trading = await indexer.apply(story.transactions[before:])
    assert [type(message.data) for message in trading.messages] == [TradeExecuted, PriceUpdate, MarketUpdate]
    price = trading.messages[1].data
    assert isinstance(price, PriceUpdate)
    assert (price.shares_yes, price.shares_no) == (story.q[True], story.q[False])
    assert [message.seq for message in trading.messages] == [
        opening.messages[-1].seq + more for more in (1, 2, 3)
    ]


async def test_what_is_sold_before_its_purchase_is_indexed_is_shown_as_nothing(
    indexer: Indexer, database: Database
) -> None:
    story = Story(seed=7)
    story.create()
    story.open_for_trading()
    await indexer.apply(story.transactions)
    trader, held = story.traders[0], 50 * INITIAL_LIQUIDITY
    sold = (
        events.SharesSold(story.market_id, trader, outcome, held, INITIAL_LIQUIDITY, B // 1000, story.now)
        for outcome in (True, False)
    )
    story.tell(*sold)
    trading = await indexer.apply(story.transactions[-1:])
    price, update = (message.data for message in trading.messages[-2:])
    assert isinstance(price, PriceUpdate)
    assert isinstance(update, MarketUpdate)
    assert (price.shares_yes, price.shares_no) == (0, 0)
    assert (update.shares_yes, update.shares_no, update.current_liquidity_lamports) == (0, 0, 0)
    market = await market_row(database, story)
    assert max(market["shares_yes"], market["shares_no"], market["current_liquidity"]) < 0


async def test_a_creator_s_registered_question_appears_with_the_market(
    indexer: Indexer, database: Database
) -> None:
    story = Story(seed=8)
    story.create()
    async with database.service() as connection:
        await connection.execute(
            "insert into market_metadata (market_id, creator_wallet, question, category, end_date, cid,"
            " document, on_chain_address, b_parameter, initial_liquidity)"
            " values ($1, $2, 'Will it rain tomorrow?', 'science', now(), $3, '', $4, 1, 1)",
            story.market_id.hex(),
            str(story.creator),
            "Qm" + "a" * 44,
            str(story.market),
        )
    await indexer.apply(story.transactions)
    market = await market_row(database, story)
    assert market["question"] == "Will it rain tomorrow?"
    assert market["metadata_verified"] is True
