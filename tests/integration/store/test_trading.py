from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from asyncpg import Connection

from tests.integration.store.rows import (
    NOON,
    insert,
    insert_market,
    insert_position,
    insert_trade,
    signature,
    wallet,
)
from zmartd.market.ids import masked
from zmartd.market.lifecycle import MarketState
from zmartd.store import indexed_transactions, positions, trades
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, Caller
from zmartd.store.raw_positions import Position, position_of
from zmartd.store.trades import PricePageKey, PricePoint, TradeFilter, TradeStatistics

ALICE, BOB = wallet("alice"), wallet("bob")


async def test_trades_come_newest_first_with_exact_amounts(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "late", market, ALICE, slot=300, cost=2**64 - 1, price_after=0.6)
        await insert_trade(connection, "early", market, BOB, slot=100)
        await insert_trade(connection, "middle", market, BOB, slot=200, trade_type="sell")

    async with database.caller(ANYBODY) as connection:
        of_market = TradeFilter(market_id=market)
        first = await trades.page(connection, ANYBODY, of_market, 2)
        rest = await trades.page(connection, ANYBODY, of_market, 2, after=first.next_key)
        by_offset = await trades.page(connection, ANYBODY, of_market, 2, offset=2)

    page = first.rows
    assert [trade.tx_signature for trade in (*page, *rest.rows)] == [
        signature(name) for name in ("late", "middle", "early")
    ]
    assert (rest.rows, rest.next_key) == (by_offset.rows, None)
    assert page[0].cost == 2**64 - 1
    assert page[0].price_yes_after == 600_000_000
    assert page[1].trade_type == "sell"


async def test_trades_that_an_offset_skips_cost_no_search_for_the_price_before_them(
    database: Database,
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for slot in range(60):
            await insert_trade(connection, f"trade {slot}", market, ALICE, slot=slot, price_after=slot / 100)

    async with database.service() as connection:
        begun = await connection.fetchval(_SCANS)
        page = await trades.page(connection, Caller(BOB), TradeFilter(market), 2, offset=55)
        scans = await connection.fetchval(_SCANS) - begun
    assert [(one.price_yes_before, one.price_yes_after) for one in page.rows] == [
        (30_000_000, 40_000_000),
        (20_000_000, 30_000_000),
    ]
    assert scans <= 4, "one for the page, and one for each trade of it and the one after it"


_SCANS = "select seq_scan + coalesce(idx_scan, 0) from pg_stat_xact_user_tables where relname = 'trades'"


async def test_how_many_trades_there_are_takes_no_look_at_them(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", trades_count=60)
        await insert_position(connection, market, ALICE, trades_count=60)
        for slot in range(60):
            await insert_trade(connection, f"trade {slot}", market, ALICE, slot=slot)

    async def rows_read(read: Callable[[Connection], Awaitable[object]]) -> int:
        async with database.service() as connection:
            begun = await connection.fetchval(_ROWS)
            await read(connection)
            return int(await connection.fetchval(_ROWS) - begun)

    caller = Caller(BOB)
    for where in (TradeFilter(market), TradeFilter(wallet=ALICE), TradeFilter(market, ALICE)):
        alone = await rows_read(partial(trades.page, caller=caller, where=where, limit=5))
        counted = await rows_read(partial(trades.counted_page, caller=caller, where=where, limit=5))
        assert counted == alone > 0, where
        async with database.service() as connection:
            assert (await trades.counted_page(connection, caller, where, 5)).total == 60


_ROWS = """
select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = 'trades'
"""


async def test_wallets_are_whole_only_for_callers_who_signed_in(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "t", market, ALICE)

    for caller, shown in ((ANYBODY, masked(ALICE)), (Caller(BOB), ALICE)):
        async with database.caller(caller) as connection:
            (trade,) = (await trades.page(connection, caller, TradeFilter(market), 10)).rows
        assert trade.trader == shown


async def test_a_wallet_s_trades_span_markets(database: Database) -> None:
    async with database.service() as connection:
        for name in ("a", "b"):
            market = await insert_market(connection, name)
            await insert_trade(connection, name, market, ALICE)
        await insert_trade(connection, "other", market, BOB)

    async with database.caller(Caller(ALICE)) as connection:
        found = await trades.page(connection, Caller(ALICE), TradeFilter(wallet=ALICE), 10)
    assert {trade.tx_signature for trade in found.rows} == {signature("a"), signature("b")}


async def test_the_price_history_goes_back_page_by_page_to_the_first_trade(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for slot in range(5):
            await insert_trade(
                connection,
                f"trade {slot}",
                market,
                ALICE,
                slot=slot,
                price_after=slot / 10,
                block_time=NOON + timedelta(seconds=slot),
            )
        newest = await trades.price_history(connection, market, 3)
        oldest = await trades.price_history(connection, market, 3, newest.next_key)

    assert newest.rows == tuple(
        PricePoint(NOON + timedelta(seconds=slot), slot * 100_000_000) for slot in (4, 3, 2)
    )
    assert [point.price_yes for point in oldest.rows] == [100_000_000, 0]
    assert oldest.next_key is None


async def test_prices_of_one_slot_come_in_the_order_of_the_block_whatever_order_they_were_found_in(
    database: Database,
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for place in (3, None, 1, 2):
            price = (place or 0) / 10
            await insert_trade(
                connection, f"trade {place}", market, ALICE, index_in_block=place, price_after=price
            )
        found: list[int] = []
        after: PricePageKey | None = None
        for _ in range(4):
            page = await trades.price_history(connection, market, 1, after)
            found += [point.price_yes // 100_000_000 for point in page.rows]
            after = page.next_key
        end = await trades.price_history(connection, market, 1, after)

    assert found == [3, 2, 1, 0]
    assert (end.rows, end.next_key) == ((), None)


async def test_statistics_count_purchases_with_fees_and_sales_before_fees(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        assert await trades.statistics(connection, market) == TradeStatistics(0, 0, 0, 0)
        await insert_trade(connection, "1", market, ALICE, cost=110, amount=100)
        await insert_trade(connection, "2", market, BOB, cost=220, amount=200)
        await insert_trade(connection, "3", market, ALICE, trade_type="sell", cost=45, amount=50)
        found = await trades.statistics(connection, market)

    assert found == TradeStatistics(trades=3, traders=2, buy_volume=330, sell_volume=50)
    assert found.total_volume == 380


async def test_two_trades_of_one_transaction_are_two_trades(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "t", market, ALICE, event_index=0)
        await insert_trade(connection, "t", market, ALICE, event_index=1)

        assert (await trades.statistics(connection, market)).trades == 2


async def test_positions_carry_what_their_worth_depends_on(database: Database) -> None:
    async with database.service() as connection:
        settled = await insert_market(
            connection, "settled", MarketState.FINALIZED, final_outcome=True, current_price_yes=0.9
        )
        await insert_position(connection, settled, ALICE, total_returned=500, last_trade_at=NOON)
        newer = await insert_market(connection, "newer", question="Will it rain tomorrow?")
        later = NOON + timedelta(hours=1)
        await insert_position(connection, newer, ALICE, last_trade_at=later)
        await insert_trade(connection, "earlier", settled, ALICE)
        await insert_trade(connection, "later", newer, ALICE, block_time=later)

    async with database.caller(Caller(ALICE)) as connection:
        first, second = (await positions.of_wallet(connection, ALICE)).positions
        found = await positions.find(connection, ALICE, settled)
        assert found is not None
        assert position_of(found) == second

    assert (first.market.id, first.market.question) == (newer, "Will it rain tomorrow?")
    assert second.market.id == settled
    assert second.market.state is MarketState.FINALIZED
    assert second.market.final_outcome is True
    assert second.market.price_yes == 900_000_000
    assert second.market.b_parameter == 1_000_000_000_000
    assert (second.shares_yes, second.total_invested, second.total_returned) == (
        2_000_000_000,
        1_100_000,
        500,
    )


@pytest.mark.parametrize("caller", [ANYBODY, Caller(BOB)])
async def test_a_query_that_asks_for_another_wallet_s_positions_gets_none(
    database: Database, caller: Caller
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_position(connection, market, ALICE)

    if caller is ANYBODY:
        with pytest.raises(Exception, match="permission denied for table user_positions"):
            await positions_of_alice(database, caller)
    else:
        assert await positions_of_alice(database, caller) == ()


async def positions_of_alice(database: Database, caller: Caller) -> tuple[Position, ...]:
    async with database.caller(caller) as connection:
        return (await positions.of_wallet(connection, ALICE)).positions


@pytest.mark.parametrize(
    ("table", "of_events", "known"),
    [
        ("trade_events", ["finalized", "finalized"], "finalized"),
        ("vote_events", ["finalized", "confirmed"], "confirmed"),
        ("market_events", [], None),
    ],
)
async def test_a_transaction_is_as_final_as_the_least_final_of_its_events(
    database: Database, table: str, of_events: list[str], known: str | None
) -> None:
    async with database.service() as connection:
        for index, commitment in enumerate(of_events):
            await insert(
                connection, table, event_type="E", tx_signature=signature("t"), event_index=index, slot=7,
                payload="{}", commitment=commitment,
            )  # fmt: skip
        assert await indexed_transactions.commitment(connection, signature("t"), 7) == known
        assert await indexed_transactions.commitment(connection, signature("t"), 8) is None
