"""The cost basis that the database works out, against a ledger that replays every trade."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.store.rows import insert_market, insert_position, insert_trade, wallet
from tests.ledger import Ledger
from zmartd.store import positions
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE
from zmartd.store.raw_positions import position_of

ALICE, BOB = wallet("alice"), wallet("bob")
Step = tuple[str, bool, str, int, int]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.booleans(),
        st.sampled_from(["buy", "buy", "sell", "sell all"]),
        st.integers(1, 2**50),
        st.integers(0, 2**60),
    ),
    max_size=25,
)


def replayed(steps: list[Step]) -> tuple[dict[Any, Ledger], list[dict[str, Any]]]:
    """The ledgers that the steps lead to, and the trades that the program would have told of."""
    ledgers: dict[Any, Ledger] = defaultdict(Ledger)
    trades = []
    for slot, (market, outcome, kind, size, cost) in enumerate(steps):
        ledger = ledgers[market, outcome]
        buys = kind == "buy" or not ledger.shares
        if buys:
            shares = size
            ledger.buy(shares, cost)
        else:
            shares = ledger.shares if kind == "sell all" else 1 + (size - 1) % ledger.shares
            ledger.sell(shares, cost)
        # Two trades to a slot, told apart by their place in the block.
        trades.append(
            {
                "name": str(slot),
                "market": market,
                "trade_type": "buy" if buys else "sell",
                "outcome": outcome,
                "shares": shares,
                "cost": cost,
                "slot": slot // 2,
                "index_in_block": slot % 2,
            }
        )
    return ledgers, trades


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=STEPS, disorder=st.randoms(use_true_random=False))
async def test_the_average_cost_is_what_a_replay_of_all_trades_gives(
    database: Database, steps: list[Step], disorder: Random
) -> None:
    ledgers, trades = replayed(steps)
    disorder.shuffle(trades)
    async with database.service() as connection:
        markets = {name: await insert_market(connection, name) for name in ("a", "b")}
        for trade in trades:
            name, market = trade.pop("name"), markets[trade.pop("market")]
            await insert_trade(connection, name, market, ALICE, **trade)
            await insert_trade(connection, f"not {name}", market, BOB, **trade)
        for name, market in markets.items():
            yes, no = ledgers[name, True], ledgers[name, False]
            await insert_position(
                connection,
                market,
                ALICE,
                shares_yes=yes.shares,
                shares_no=no.shares,
                total_invested=yes.invested + no.invested,
                total_returned=yes.returned + no.returned,
            )
        holdings = await positions.of_wallet(connection, ALICE)
        found = {position.market.id: position for position in holdings.positions}
        one = await positions.find(connection, ALICE, markets["a"])
        await connection.execute(f"rollback; {BEGIN_AS_SERVICE}")

    for name, market in markets.items():
        yes, no, position = ledgers[name, True], ledgers[name, False], found[market]
        assert (position.cost_yes, position.cost_no) == (yes.cost, no.cost)
        taken_out = position.total_returned + position.cost_yes + position.cost_no
        assert taken_out - position.total_invested == yes.realized + no.realized
    assert one is not None
    assert position_of(one) == found[markets["a"]]


@pytest.mark.parametrize(
    ("held", "cost"),
    [(30, 600), (29, 580), (1, 20), (0, 0), (-1, 0), (45, 600)],
)
async def test_shares_that_left_by_transfer_took_their_cost_along_and_gifts_cost_nothing(
    database: Database, held: int, cost: int
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "1", market, ALICE, shares=40, cost=800, slot=1)
        await insert_trade(connection, "2", market, ALICE, trade_type="sell", shares=10, cost=1, slot=2)
        await insert_position(connection, market, ALICE, shares_yes=held)
        (position,) = (await positions.of_wallet(connection, ALICE)).positions

    assert position.cost_yes == cost


async def test_a_purchase_that_is_still_unknown_leaves_no_negative_cost(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "1", market, ALICE, trade_type="sell", shares=10, cost=1, slot=1)
        await insert_trade(connection, "2", market, ALICE, shares=4, cost=80, slot=2)
        await insert_position(connection, market, ALICE, shares_yes=-6)
        (position,) = (await positions.of_wallet(connection, ALICE)).positions

    assert (position.cost_yes, position.cost_no) == (0, 0)


async def test_the_cost_basis_may_be_worked_out_by_whoever_may_read_the_trades(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for role in ("anon", "authenticated"):
        await connection.execute(f"begin; set local role {role}")
        assert await connection.fetchval("select zmartd.held_cost('{10,100}', 5)") == 50
        await connection.execute("rollback")
    await connection.close()
