"""Holders page by page, and what is kept of them, against all positions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.integration.store.rows import insert_market, insert_position, wallet
from zmartd.indexer.audit.kept_sums import differences_of
from zmartd.market.lifecycle import MarketState
from zmartd.store import holders, positions
from zmartd.store.holders import HolderPageKey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller

_ALL = """
select user_wallet, outcome, shares from user_positions,
       lateral (values (true, shares_yes), (false, shares_no)) as held (outcome, shares)
 where market_id = $1 and shares > 0 and ($2::boolean is null or outcome = $2)
 order by shares desc, outcome desc, hashtextextended(user_wallet, 0) desc
"""
_READER = Caller(wallet("reader"))


@pytest.mark.parametrize("outcome", [None, True, False])
async def test_pages_of_holders_are_all_holders_in_order(database: Database, outcome: bool | None) -> None:
    choose = random.Random(3)
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for number in range(60):  # few different numbers of shares
            shares = {"shares_yes": choose.randrange(-1, 4), "shares_no": choose.randrange(4)}
            await insert_position(connection, market, wallet(str(number)), **shares)
        expected = [tuple(row) for row in await connection.fetch(_ALL, market, outcome)]
    found: list[tuple[Any, ...]] = []
    after: HolderPageKey | None = None
    async with database.service_reader() as reader:
        while True:
            page = await holders.of_market(
                reader, _READER, market, outcome=outcome, limit=choose.randint(1, 9), after=after
            )
            found += [(one.wallet, one.outcome, one.shares) for one in page.rows]
            assert page.total == len(expected)
            for one in page.rows:
                assert one.shares_of_all == sum(row[2] for row in await _of(database, market, one.outcome))
            after = page.next_key
            if after is None:
                break
    assert found == expected


async def _of(database: Database, market: str, outcome: bool) -> list[Any]:
    async with database.service_reader() as reader:
        return await reader.fetch(_ALL, market, outcome)


async def test_what_is_kept_of_positions_follows_each_change(database: Database) -> None:
    choose = random.Random(5)
    async with database.service() as connection:
        markets = [await insert_market(connection, name, state=MarketState.FINALIZED) for name in "ab"]
        for number in range(20):
            await insert_position(connection, choose.choice(markets), wallet(str(number)))
    statements = (
        "update user_positions set shares_yes = shares_yes - 2000000000 where random() < 0.3",
        "update user_positions set shares_no = shares_no + 5, total_invested = total_invested + 7",
        "update user_positions set total_returned = total_returned + 2000000 where random() < 0.5",
        "update user_positions set has_claimed = true where random() < 0.3",
        "delete from user_positions where random() < 0.2",
    )
    for statement in (*statements, *choose.choices(statements, k=10), "delete from user_positions"):
        async with database.service() as connection:
            await connection.execute(statement)
            for market in markets:
                found = [one for one in await differences_of(connection, market) if "holdings" in one.table]
                assert found == [], statement
    async with database.service_reader() as reader:
        assert await positions.claimable(reader, markets) == set()
        assert set((await positions.refundable(reader, markets)).values()) <= {0}
