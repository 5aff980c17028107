"""The audit of kept sums and counts, against the trades, positions and markets that they are of."""

from __future__ import annotations

from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd.indexer.audit.counted_sums import (
    COUNTED_CANDLES,
    COUNTED_HOLDINGS,
    COUNTED_LOTS,
    COUNTED_MARKET_COUNTS,
    COUNTED_MARKET_VOLUMES,
    COUNTED_POSITION_RESULTS,
    COUNTED_STANDINGS,
    COUNTED_TRADE_RESULTS,
    COUNTED_TRADERS,
    KEPT_CANDLES,
    KEPT_HOLDINGS,
    KEPT_LOTS,
    KEPT_MARKET_COUNTS,
    KEPT_MARKET_VOLUMES,
    KEPT_POSITION_RESULTS,
    KEPT_STANDINGS,
    KEPT_TRADE_RESULTS,
    KEPT_TRADERS,
)
from zmartd.store.postgres.database import Database

_MARKETS = "select id from markets order by id"

MOST_DIFFERENCES: Final = 20
"""Rows that are told of each table of a market, on either side."""
_SECONDS: Final = 300.0
"""How long the comparison of one table of a market may take, and its counting anew."""
_ALLOW_TIME: Final = f"set local statement_timeout = {int(_SECONDS * 1_000)}"
_COMPARED: Final = {
    "candles": (KEPT_CANDLES, COUNTED_CANDLES),
    "trade_results": (KEPT_TRADE_RESULTS, COUNTED_TRADE_RESULTS),
    "lots": (KEPT_LOTS, COUNTED_LOTS),
    "market_traders": (KEPT_TRADERS, COUNTED_TRADERS),
    "market_holdings": (KEPT_HOLDINGS, COUNTED_HOLDINGS),
    "position_results": (KEPT_POSITION_RESULTS, COUNTED_POSITION_RESULTS),
}
_COMPARE = """
with kept as ({kept}), counted as ({counted})
(select to_jsonb(kept)::text as kept, null as counted
   from (table kept except table counted) as kept limit {most})
 union all
(select null, to_jsonb(counted)::text
   from (table counted except table kept) as counted limit {most})
"""
_OF_NO_TRADE = f"""
select to_jsonb(kept)::text as kept, null as counted from trade_results as kept
 where not exists (select from trades where id = trade_id) limit {MOST_DIFFERENCES}
"""  # noqa: S608 - a constant
_LOCK = "select from markets where id = $1 for update"
_FORGET = (
    "delete from candles where market_id = $1",
    "delete from lots where market_id = $1",
    "delete from market_traders where market_id = $1",
    "delete from position_results where market_id = $1",
)
_COUNT = (
    "select zmartd.count_all_candles($1, '-infinity', 'infinity')",
    "select zmartd.count_holdings($1)",
    """
    select zmartd.count_results($1, array_agg(user_wallet::text))
      from (select user_wallet from trades where market_id = $1
             union
            select user_wallet from user_positions where market_id = $1) as wallets
    having count(*) > 0
    """,
)
_COUNT_MARKETS = (
    "lock table markets in share row exclusive mode",
    "delete from market_counts",
    f"insert into market_counts (state, category, markets) {COUNTED_MARKET_COUNTS}",
    "delete from market_volumes",
    f"insert into market_volumes (market_id, state, total_volume) {COUNTED_MARKET_VOLUMES}",
)
_FORGET_STANDINGS = (
    "select from standing_periods for update",
    "delete from trade_results where not exists (select from trades where id = trade_id)",
    "delete from standing_changes",
    "delete from standings",
    "delete from standing_periods",
)


class KeptDifference(Struct, frozen=True):
    """A row that is kept and not what is counted, or the row that is counted instead."""

    table: str
    kept: str | None
    """The row as JSON; None where none is kept that is equal to what is counted."""
    counted: str | None
    """The row as JSON; None where what is kept is not what is counted."""


async def kept_differences(database: Database) -> tuple[KeptDifference, ...]:
    """What is kept of all markets and is not what their trades and positions come to.

    Each table of a market is compared at one moment. Raises DatabaseUnavailable, DatabaseTimeout.
    """
    async with database.service() as connection:
        markets = [row["id"] for row in await connection.fetch(_MARKETS)]
    found = []
    for market_id in markets:
        async with database.service() as connection:
            found += await differences_of(connection, market_id)
    async with database.service() as connection:
        found += await standing_differences(connection)
    return tuple(found)


async def differences_of(connection: Connection, market_id: str) -> list[KeptDifference]:
    """What is kept of one market and differs. Takes a service transaction."""
    await connection.execute(_ALLOW_TIME)
    return [
        one
        for table, (kept, counted) in _COMPARED.items()
        for one in await _differences(connection, table, _compare(kept, counted), market_id)
    ]


async def standing_differences(connection: Connection) -> list[KeptDifference]:
    """What differs of no market alone: standings, results of no trade, how many markets there are, and
    their order by volume.

    Takes a service transaction.
    """
    await connection.execute(_ALLOW_TIME)
    return [
        *await _differences(connection, "trade_results", _OF_NO_TRADE),
        *await _differences(connection, "standings", _compare(KEPT_STANDINGS, COUNTED_STANDINGS)),
        *await _differences(connection, "market_counts", _compare(KEPT_MARKET_COUNTS, COUNTED_MARKET_COUNTS)),
        *await _differences(
            connection, "market_volumes", _compare(KEPT_MARKET_VOLUMES, COUNTED_MARKET_VOLUMES)
        ),
    ]


async def count_anew(database: Database) -> None:
    """Count everything that is kept anew, one market at a time. Readers see the sums before or after it.

    Raises DatabaseUnavailable, DatabaseTimeout.
    """
    async with database.service() as connection:
        markets = [row["id"] for row in await connection.fetch(_MARKETS)]
    for market_id in markets:
        async with database.service() as connection:
            await connection.execute(_ALLOW_TIME)
            for statement in (_LOCK, *_FORGET, *_COUNT):
                await connection.execute(statement, market_id, timeout=_SECONDS)
    async with database.service() as connection:
        await connection.execute(_ALLOW_TIME)
        for statement in (*_FORGET_STANDINGS, *_COUNT_MARKETS):
            await connection.execute(statement, timeout=_SECONDS)


def _compare(kept: str, counted: str) -> str:
    return _COMPARE.format(kept=kept, counted=counted, most=MOST_DIFFERENCES)


async def _differences(connection: Connection, table: str, query: str, *values: str) -> list[KeptDifference]:
    rows = await connection.fetch(query, *values, timeout=_SECONDS)
    return [KeptDifference(table, row["kept"], row["counted"]) for row in rows]
