"""How many markets there are of each state and category, whoever changes which."""

from __future__ import annotations

import asyncpg
from asyncpg import Connection

from tests.integration.store.rows import insert_market
from zmartd.market.lifecycle import MarketState
from zmartd.store import market_list
from zmartd.store.market_order import MarketFilter, Order
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, BEGIN_AS_SERVICE

_DIFFERENCES = """
with kept as (select state::text, category::text, sum(markets) as markets from market_counts
               group by state, category having sum(markets) <> 0),
counted as (select state::text, category::text, count(*)::numeric as markets from markets where not orphaned
             group by state, category)
select * from ((table kept except table counted) union all (table counted except table kept)) as differences
"""
_CHANGES = (
    "update markets set state = 'RESOLVING' where id < (select max(id) from markets)",
    "update markets set category = 'science' where state = 'RESOLVING'",
    "update markets set orphaned = true where category = 'science'",
    "update markets set orphaned = true, state = 'CANCELLED'",
    "update markets set orphaned = false",
    "update markets set state = 'ACTIVE', category = 'other'",
    "delete from markets where id = (select min(id) from markets)",
)


async def total(database: Database, *states: MarketState, category: str | None = None) -> int:
    async with database.caller(ANYBODY) as connection:
        where = MarketFilter(states=states, category=category)
        return (await market_list.page(connection, where, Order(), 1)).total


async def test_a_list_s_total_follows_whatever_becomes_of_its_markets(database: Database) -> None:
    async with database.service() as connection:
        for number in range(5):
            await insert_market(connection, str(number), category="sports")
    assert await total(database) == await total(database, MarketState.ACTIVE, category="sports") == 5
    for change in _CHANGES:
        async with database.service() as connection:
            await connection.execute(change)
            assert await connection.fetch(_DIFFERENCES) == [], change
    assert await total(database) == await total(database, MarketState.ACTIVE) == 4
    assert await total(database, MarketState.RESOLVING, MarketState.FINALIZED) == 0


async def begun(database_url: str) -> Connection:
    connection = await asyncpg.connect(database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    await connection.execute("set local lock_timeout = '1s'")
    return connection


async def test_markets_of_one_kind_change_at_once_and_none_waits_for_the_other(
    database: Database, database_url: str
) -> None:
    async with database.service() as connection:
        first, second, third = [await insert_market(connection, name, category="sports") for name in "abc"]
    one, other = await begun(database_url), await begun(database_url)
    change = "update markets set state = 'RESOLVING' where id = $1"
    await one.execute(change, first)
    await other.execute(change, second)
    await other.execute("commit")
    assert await total(database, MarketState.RESOLVING) == 1
    await one.execute("commit")
    assert await total(database, MarketState.RESOLVING) == 2
    assert await total(database, MarketState.ACTIVE) == 1
    async with database.service() as connection:
        await connection.execute(change, third)
        rows = await connection.fetch("select state, markets from market_counts")
    assert [tuple(row) for row in rows] == [("RESOLVING", 3)]
    for connection in (one, other):
        await connection.close()
