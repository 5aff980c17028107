"""The order of markets by volume, whoever changes them."""

from __future__ import annotations

import pytest

from tests.integration.store.rows import insert_market, market_id
from zmartd.indexer.audit.kept_sums import standing_differences
from zmartd.market.lifecycle import MarketState
from zmartd.store import discovery, market_list
from zmartd.store.market_order import Direction, MarketFilter, Order
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY

_CHANGES = (
    "update markets set total_volume = 700 where total_volume = 0",
    "update markets set total_volume = 1000 - total_volume, state = 'RESOLVING' where id < $1",
    "update markets set state = 'CANCELLED' where id >= $1",
    "update markets set orphaned = true where id = $1",
    "update markets set total_volume = default",
    "update markets set state = 'ACTIVE', orphaned = false",
    "delete from markets where id = $1",
)
_MARKETS = "select id, state, category, total_volume from markets where not orphaned"
NAMES = "abcdef"


async def listed(database: Database, direction: Direction, where: MarketFilter) -> list[str]:
    """The ids of a list by volume, read in pages of two."""
    found: list[str] = []
    after = None
    order = Order("volume", direction)
    while True:
        async with database.caller(ANYBODY) as connection:
            page = await market_list.page(connection, where, order, 2, after=after)
        found += [market.id for market in page.markets]
        if page.next_key is None:
            return found
        after = page.next_key


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_lists_by_volume_follow_whatever_becomes_of_markets(
    database: Database, direction: Direction
) -> None:
    async with database.service() as connection:
        for number, name in enumerate(NAMES):
            await insert_market(
                connection, name, total_volume=number // 2 * 300, category=("sports", "crypto")[number % 2]
            )
    for change in ("select", *_CHANGES):
        async with database.service() as connection:
            await connection.execute(change, *([market_id("c")] if "$1" in change else []))
            assert await standing_differences(connection) == [], change
            rows = await connection.fetch(_MARKETS)
        rows.sort(key=lambda row: (row["total_volume"], row["id"]), reverse=direction == "desc")
        for states in ((), ("ACTIVE",), ("CANCELLED", "RESOLVING"), ("ACTIVE", "RESOLVING")):
            for category in (None, "crypto"):
                where = MarketFilter(states=tuple(MarketState[state] for state in states), category=category)
                assert await listed(database, direction, where) == [
                    row["id"]
                    for row in rows
                    if (not states or row["state"] in states) and category in {None, row["category"]}
                ], (change, where)


async def test_active_markets_that_nobody_trades_are_trending_by_volume(database: Database) -> None:
    async with database.service() as connection:
        for number, name in enumerate(NAMES):
            await insert_market(connection, name, total_volume=number * 100, orphaned=name == "f")
        await insert_market(connection, "over", MarketState.RESOLVING, total_volume=10_000)
    async with database.caller(ANYBODY) as connection:
        found = await discovery.trending(connection, 3)
    assert [market.id for market in found] == [market_id(name) for name in "edc"]
