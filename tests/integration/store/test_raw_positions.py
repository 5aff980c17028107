"""What Postgres writes of a position is read as it is in its tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.store.rows import NOON, insert_market, insert_position, insert_trade, wallet
from zmartd.market.fees import INITIAL_RATES
from zmartd.market.lifecycle import MarketState
from zmartd.store import positions
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.raw_positions import Position, position_of

ALICE = wallet("alice")
QUESTION = 'Is "50 %" \\ more, or ünlikely {}?'


async def positions_of_alice(database: Database) -> tuple[Position, Position]:
    """Her only position, found by its market and among all of them."""
    async with database.reader(Caller(ALICE)) as connection:
        (of_all,) = (await positions.of_wallet(connection, ALICE)).positions
        found = await positions.find(connection, ALICE, of_all.market.id)
        (on_page,) = (await positions.page(connection, ALICE, 1)).rows
    assert found == on_page
    return position_of(found), of_all


@pytest.mark.parametrize("state", list(MarketState))
async def test_a_position_has_its_texts_its_times_and_numbers_of_any_size(
    database: Database, state: MarketState
) -> None:
    huge, moment = 2**80 + 1, NOON + timedelta(microseconds=1)
    outcome = True if state is MarketState.FINALIZED else None
    async with database.service() as connection:
        market = await insert_market(connection, "m", state, question=QUESTION, final_outcome=outcome)
        await insert_trade(connection, "1", market, ALICE, shares=40, cost=800)
        await insert_position(
            connection, market, ALICE, shares_yes=30, shares_no=-huge, total_invested=huge, claimed_at=moment,
            has_claimed=True, last_trade_at=None,
        )  # fmt: skip

    for position in await positions_of_alice(database):
        assert (position.user_wallet, position.market.id) == (ALICE, market)
        assert (position.shares_yes, position.shares_no) == (30, -huge)
        assert (position.total_invested, position.has_claimed) == (huge, True)
        assert (position.claimed_at, position.last_trade_at) == (moment, None)
        assert (position.cost_yes, position.cost_no) == (600, 0)
        assert (position.market.state, position.market.question) == (state, QUESTION)
        assert (position.market.final_outcome, position.market.proposed_outcome) == (outcome, None)
        assert position.market.rates == INITIAL_RATES


async def test_whatever_a_position_depends_on_makes_another_text_of_it(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "1", market, ALICE, shares=40, cost=800)
        await insert_position(connection, market, ALICE, shares_yes=30)
    seen = []
    for change in (
        "update user_positions set shares_yes = 20",
        "update user_positions set total_returned = total_returned + 1",
        "update lots set cost = cost + 100",
        "delete from lots",
        "update markets set current_price_yes = 0.123456789",
        "update markets set shares_no = shares_no + 1",
        "update protocol set protocol_fee_bps = 299",
        "select",
    ):
        seen.append(await positions_of_alice(database))
        async with database.service() as connection:
            await connection.execute(change)
    assert len(set(seen)) == len(seen)
    assert all(found == of_all for found, of_all in seen)
