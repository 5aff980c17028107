from __future__ import annotations

import pytest

from zmartd.market.lifecycle import MarketState
from zmartd.realtime.snapshots import MarketSnapshots
from zmartd.store.postgres.database import Database

MARKET = "5a" * 32
ADDRESS = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
INSERT = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version)
values ($1, $2, 'Will it?', 'ACTIVE', 100000000000, 3000000000, 1000000000, 0.505, 7,
        18446744073709551615, 42, 9)
"""


@pytest.mark.parametrize("name", [MARKET, ADDRESS])
async def test_a_market_is_read_by_its_id_or_its_address(database: Database, name: str) -> None:
    async with database.service() as connection:
        await connection.execute(INSERT, MARKET, ADDRESS)
    snapshot = await MarketSnapshots(database).read(name)
    assert snapshot is not None
    assert (snapshot.market_id, snapshot.version) == (MARKET, 9)
    market = snapshot.data
    assert (market.state, market.on_chain_address) == (MarketState.ACTIVE, ADDRESS)
    assert (market.price_yes, market.shares_yes, market.shares_no) == (505_000_000, 3 * 10**9, 10**9)
    assert (market.b_parameter, market.slot) == (100 * 10**9, 42)
    assert (market.total_volume_lamports, market.current_liquidity_lamports) == (7, 2**64 - 1)


@pytest.mark.parametrize("name", [MARKET, ADDRESS, "*", "market-1", "\x00", "'; drop table markets; --"])
async def test_what_names_no_market_has_no_snapshot(database: Database, name: str) -> None:
    assert await MarketSnapshots(database).read(name) is None
