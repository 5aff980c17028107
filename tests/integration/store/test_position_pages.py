"""Walks through a wallet's positions, which are sorted by what trades change all the time."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import count

import pytest
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert_market, insert_position, insert_trade, wallet
from zmartd.store import positions
from zmartd.store.positions import PositionPageKey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.raw_positions import position_of

ALICE = wallet("alice")


async def set_last_trade(connection: Connection, market: str, moment: datetime) -> None:
    """As the indexer does it with each trade."""
    await connection.execute(
        "update user_positions set last_trade_at = greatest(last_trade_at, $2) where market_id = $1",
        market,
        moment,
    )


@pytest.mark.parametrize("with_all", [False, True])
@pytest.mark.parametrize("seed", range(5))
async def test_trading_during_a_walk_neither_hides_a_position_nor_shows_it_twice(
    database: Database, seed: int, with_all: bool
) -> None:
    choose = random.Random(seed)
    numbers = count()

    async def trade(market: str) -> None:
        number = next(numbers)
        moment = NOON + timedelta(seconds=number // 3)
        async with database.service() as connection:
            await insert_trade(
                connection, str(number), market, ALICE, block_time=moment, slot=number,
                outcome=choose.random() < 0.5,
            )  # fmt: skip
            await set_last_trade(connection, market, moment)

    async def open_position(name: str) -> str:
        async with database.service() as connection:
            market = await insert_market(connection, name)
            await insert_position(connection, market, ALICE, last_trade_at=None)
        return market

    markets = [await open_position(f"market {number}") for number in range(20)]
    for market in markets[:-3]:  # three are held by transfer alone
        await trade(market)
    for _ in range(20):
        await trade(choose.choice(markets[:-3]))

    found: list[str] = []
    after: PositionPageKey | None = None
    while True:
        limit = choose.randint(1, 4)
        async with database.caller(Caller(ALICE)) as connection:
            holdings = await positions.of_wallet(connection, ALICE, after)
            page = await positions.page(connection, ALICE, limit, after)
        if after is None:
            at_first = [position.market.id for position in holdings.positions]
        if with_all:
            page = holdings.page(limit, after)
        found += [position_of(row).market.id for row in page.rows]
        after = page.next_key
        if after is None:
            break
        for _ in range(2):
            await trade(choose.choice(markets))
        await trade(await open_position(f"new market {next(numbers)}"))

    assert len(set(found)) == len(found)
    assert [market for market in found if market in set(markets)] == at_first


async def test_a_new_walk_has_what_was_traded_last_in_front(database: Database) -> None:
    async with database.service() as connection:
        first, second = [await insert_market(connection, name) for name in ("first", "second")]
        for market in (first, second):
            await insert_position(connection, market, ALICE)
        for number, market in enumerate((first, second, first)):
            await insert_trade(
                connection, str(number), market, ALICE, block_time=NOON + timedelta(seconds=number)
            )
            await set_last_trade(connection, market, NOON + timedelta(seconds=number))
    async with database.caller(Caller(ALICE)) as connection:
        holdings = await positions.of_wallet(connection, ALICE)
    assert [position.market.id for position in holdings.positions] == [first, second]
