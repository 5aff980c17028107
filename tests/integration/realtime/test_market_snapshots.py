from __future__ import annotations

from zmartd.market.lifecycle import MarketState
from zmartd.realtime.history import StreamHistory
from zmartd.store import streams
from zmartd.store.postgres.database import Database

MARKET = "5a" * 32
ADDRESS = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
INSERT = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version)
values ($1, $2, 'Will it?', 'ACTIVE', 100000000000, 3000000000, 1000000000, 0.505, 7,
        18446744073709551615, 42, 9)
"""
NOT_MARKETS = ("7c" * 32, "*", "market-1", "\x00", "'; drop table markets; --")


async def test_markets_are_read_by_ids_and_addresses_with_the_positions_of_their_streams(
    database: Database,
) -> None:
    history = StreamHistory(database)
    assert await history.snapshots([MARKET, ADDRESS, *NOT_MARKETS]) == {}
    async with database.service() as connection:
        await connection.execute(INSERT, MARKET, ADDRESS)
    assert (await history.snapshots([MARKET]))[MARKET].position.seq == 0
    async with database.service() as connection:
        at = await streams.append(connection, [(f"market:{MARKET}", b"1"), (f"market:{MARKET}", b"2")])
    snapshots = await history.snapshots([MARKET, ADDRESS, *NOT_MARKETS])
    assert set(snapshots) == {MARKET, ADDRESS}
    for snapshot in snapshots.values():
        assert (snapshot.market_id, snapshot.position) == (MARKET, at[1])
        market = snapshot.data
        assert (market.state, market.on_chain_address) == (MarketState.ACTIVE, ADDRESS)
        assert (market.price_yes, market.shares_yes, market.shares_no) == (505_000_000, 3 * 10**9, 10**9)
        assert (market.b_parameter, market.slot) == (100 * 10**9, 42)
        assert (market.total_volume_lamports, market.current_liquidity_lamports) == (7, 2**64 - 1)
