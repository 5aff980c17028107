"""A wallet's results are the sums over its positions, each of which is valued as its portfolio has it."""

from __future__ import annotations

import random

import pytest

from tests.integration.store.rows import NOON, insert_market, insert_position, insert_trade, wallet
from zmartd.http.trading.position_valuation import value_positions
from zmartd.market.lifecycle import MarketState
from zmartd.store import positions, trading_results, wallet_activity
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.trading_results import TradingResults

ALICE, BOB = wallet("alice"), wallet("bob")
SOME: tuple[int, ...] = (-3, 0, 1, 7, 10**9 + 1, 3 * 10**9)
LAMPORTS: tuple[int, ...] = (0, 1, 999, 10**9, 2**70)


async def make_positions(database: Database, choose: random.Random) -> None:
    """Alice's, and in some of the markets Bob's, in markets of every state and every end."""
    async with database.service() as connection:
        for number in range(60):
            state = choose.choice(list(MarketState) + [MarketState.FINALIZED] * 5)
            outcome = choose.choice([True, False, None]) if state is MarketState.FINALIZED else None
            market = await insert_market(
                connection, f"m{number}", state, final_outcome=outcome, shares_yes=choose.choice(SOME),
                shares_no=choose.choice(SOME), current_liquidity=choose.choice((-5, *LAMPORTS)),
                current_price_yes=choose.choice((0, 0.333333333, 0.5, 0.999999999, 1)),
            )  # fmt: skip
            for holder in (ALICE, BOB)[: choose.choice((1, 2))]:
                await insert_position(
                    connection, market, holder, shares_yes=choose.choice(SOME), shares_no=choose.choice(SOME),
                    total_invested=choose.choice(LAMPORTS), total_returned=choose.choice(LAMPORTS),
                    has_claimed=choose.random() < 0.2, claimed_amount=choose.choice(LAMPORTS),
                )  # fmt: skip
            await insert_trade(connection, str(number), market, ALICE, block_time=NOON, cost=number)


@pytest.mark.parametrize("seed", range(4))
async def test_a_wallet_s_results_are_the_sums_over_its_valued_positions(
    database: Database, seed: int
) -> None:
    await make_positions(database, random.Random(seed))
    async with database.reader(Caller(ALICE)) as reader:
        held = await positions.of_wallet(reader, ALICE)
        volume = await wallet_activity.volume_lamports(reader, ALICE)
    valued = await value_positions(database, held.rows)
    async with database.service_reader() as reader:
        results = await trading_results.of_wallet(reader, ALICE)

    profits = [(one.position.market.state, one.valuation.profit_lamports) for one in valued]
    ended = [profit for state, profit in profits if state is MarketState.FINALIZED]
    assert results == TradingResults(
        trades=sum(one.position.trades_count for one in valued),
        volume=volume,
        profit=sum(profit for _, profit in profits),
        ended=len(ended),
        won=sum(profit > 0 for profit in ended),
        active=sum(
            one.position.market.state < MarketState.FINALIZED
            and max(one.position.shares_yes, one.position.shares_no) > 0
            for one in valued
        ),
    )


async def test_a_wallet_without_positions_has_no_results(database: Database) -> None:
    async with database.service_reader() as reader:
        assert await trading_results.of_wallet(reader, ALICE) == TradingResults(0, 0, 0, 0, 0, 0)
