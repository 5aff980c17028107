"""Lists of markets: filtered, searched, sorted, and read page by page."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from zmartd.store import markets
from zmartd.store.keyset import counted_rows, to_micros
from zmartd.store.market_list_query import Query, Typed
from zmartd.store.market_order import TIMES, MarketFilter, MarketPageKey, Order
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.reader import Reads

FEW: Final = 10
"""A search with fewer exact matches than this also finds near ones, and lists them after these."""

_TYPED = "select zmartd.sought($1::text) as query, zmartd.folded($1::text) as folded"
_SIMILAR = "select * from zmartd.similar_markets($1::text)"


class MarketPage(Struct, frozen=True):
    """Some of the markets that match, how many match in all, and the key after which the next page begins."""

    markets: tuple[MarketRow, ...]
    total: int
    next_key: MarketPageKey | None


async def page(
    connection: Reads,
    where: MarketFilter,
    order: Order,
    limit: int,
    *,
    offset: int = 0,
    after: MarketPageKey | None = None,
) -> MarketPage:
    """A page of the markets that match, from `offset` on or after the key `after`, which has this order.

    `relevance` needs words. A market whose key changes between two pages can be on both or on neither.
    """
    typed = None if where.words is None else await _typed(connection, where.words)
    query = Query(where, order, typed)
    rows, total = await _read(connection, query, after, limit, offset)
    if typed is not None and total < (FEW if order.sort == "relevance" else 1):
        near = [row[0] for row in await connection.fetch(_SIMILAR, where.words)]
        rows, total = await _read(connection, Query(where, order, typed, near), after, limit, offset)
    found = tuple(markets.from_row(row) for row in rows[:limit])
    next_key = None
    if found and len(rows) > limit:
        key = rows[limit - 1]["sort_key"]
        next_key = MarketPageKey(order, to_micros(key) if order.sort in TIMES else int(key), found[-1].id)
    return MarketPage(found, total, next_key)


async def _read(
    connection: Reads, query: Query, after: MarketPageKey | None, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a page and one more, and how many markets match, of one snapshot."""
    rows, total = counted_rows(await connection.fetch(query.page(after, limit, offset), *query.arguments))
    assert total is not None, "of a list that is counted"
    return rows, total


async def _typed(connection: Reads, words: str) -> Typed:
    row = await connection.fetchrow(_TYPED, words)
    assert row is not None, "a row of constants"
    return Typed(row["query"], row["folded"])
