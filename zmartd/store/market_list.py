"""Lists of markets: filtered, searched, sorted, and read page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

from zmartd.market.ids import is_market_id
from zmartd.market.lifecycle import MarketState
from zmartd.store import markets
from zmartd.store.keyset import counted_rows, from_micros, to_micros, with_total
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.reader import Reads

Sort = Literal["newest", "volume", "ending_soon", "trending", "relevance"]
Direction = Literal["asc", "desc"]

DIRECTIONS: Final[dict[Sort, Direction]] = {
    "newest": "desc",
    "volume": "desc",
    "ending_soon": "asc",
    "trending": "desc",
    "relevance": "desc",
}
"""The default direction of each order."""

FEW: Final = 10
"""A search with fewer exact matches than this also finds near ones, and lists them after these."""

_TYPED = "select zmartd.sought($1::text) as query, zmartd.folded($1::text) as folded"
_SIMILAR = "select * from zmartd.similar_markets($1::text)"
_HAS_WORDS = "search @@ {}::tsquery"
# Stop words are in no index, but a question can be searched for by its first words.
_HAS_TEXT = "position({}::text in search_text) > 0"
_TIMES = frozenset({"newest", "ending_soon"})
_KEYS: dict[Sort, str] = {
    "newest": "created_at",
    "volume": "total_volume",
    "ending_soon": "end_date",
    "trending": "zmartd.trending_score(day.volume, day.traders)",
    "relevance": """
case when search @@ {query}::tsquery
     then 1000000000 + least(ts_rank_cd(search, {query}::tsquery) * 1000000, 999999999)
     else zmartd.nearness({folded}::text, search_text) * 1000000
 end::numeric(30, 0)""",
}
_NO_RELEVANCE = "0::numeric(30, 0)"
_COMPARED = {"asc": ">", "desc": "<"}
_HIGHEST = 10**30


class MarketFilter(Struct, frozen=True):
    """Which markets to list; None, or no state, does not restrict."""

    states: tuple[MarketState, ...] = ()
    category: str | None = None
    creator: str | None = None
    tag: str | None = None
    ends_after: datetime | None = None
    words: str | None = None
    """Words to search for in question, tags and description. The last one may be the beginning of a word.

    Where few markets have them, those with similar words in question and tags are listed after these; for
    that Postgres needs pg_trgm.
    """


class Order(Struct, frozen=True):
    """What a list is sorted by. `relevance` is how well a market matches the filter's words."""

    sort: Sort = "newest"
    direction: Direction = "desc"


class MarketPageKey(Struct, frozen=True):
    """A page begins after this market in a list of this order. Raises ValueError for impossible values.

    `key` is what the list is sorted by: microseconds since 1970, lamports, or a score.
    """

    order: Order
    key: int
    market_id: str

    def __post_init__(self) -> None:
        if not is_market_id(self.market_id):
            raise ValueError("market_id has to be 64 hexadecimal digits")
        if self.order.sort in _TIMES:
            from_micros(self.key)
        elif not 0 <= self.key <= _HIGHEST:
            raise ValueError("key is out of range")


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
    query = _Query(where, order, typed)
    rows, total = await _read(connection, query, after, limit, offset)
    if typed is not None and total < (FEW if order.sort == "relevance" else 1):
        near = [row[0] for row in await connection.fetch(_SIMILAR, where.words)]
        rows, total = await _read(connection, _Query(where, order, typed, near), after, limit, offset)
    found = tuple(markets.from_row(row) for row in rows[:limit])
    next_key = None
    if found and len(rows) > limit:
        key = rows[limit - 1]["sort_key"]
        next_key = MarketPageKey(order, to_micros(key) if order.sort in _TIMES else int(key), found[-1].id)
    return MarketPage(found, total, next_key)


async def _read(
    connection: Reads, query: _Query, after: MarketPageKey | None, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a page and one more, and how many markets match, of one snapshot."""
    rows, total = counted_rows(await connection.fetch(query.page(after, limit, offset), *query.arguments))
    assert total is not None, "of a list that is counted"
    return rows, total


class _Typed(Struct, frozen=True):
    """What was typed to be searched for, as the database compares it."""

    query: str
    """A tsquery; empty when no word of it is in the index."""
    folded: str


async def _typed(connection: Reads, words: str) -> _Typed:
    row = await connection.fetchrow(_TYPED, words)
    assert row is not None, "a row of constants"
    return _Typed(row["query"], row["folded"])


class _Query:
    """The SQL of a list, built from constants, and its arguments.

    It contains only conditions that restrict, so that the planner sees which index fits.
    """

    def __init__(
        self, where: MarketFilter, order: Order, typed: _Typed | None, near: Sequence[str] = ()
    ) -> None:
        """`typed` is the filter's words; `near` are the ids of markets that have similar ones."""
        self.arguments: list[Any] = []
        self._order = order
        self._typed = typed
        conditions = ["not orphaned"]
        if where.states:
            states = [state.name for state in where.states]
            conditions.append(f"state = any({self._argument(states)}::text[])")
        if where.category is not None:
            conditions.append(f"category = {self._argument(where.category)}")
        if where.creator is not None:
            conditions.append(f"creator_wallet = {self._argument(where.creator)}")
        if where.tag is not None:
            conditions.append(f"tags @> array[{self._argument(where.tag)}::text]")
        if where.ends_after is not None:
            conditions.append(f"end_date > {self._argument(where.ends_after)}")
        if typed is not None:
            match = (
                _HAS_WORDS.format(self._argument(typed.query))
                if typed.query
                else _HAS_TEXT.format(self._argument(typed.folded))
            )
            conditions.append(f"({match} or id = any({self._argument(near)}::text[]))" if near else match)
        self._where = "where " + " and ".join(conditions)

    def page(self, after: MarketPageKey | None, limit: int, offset: int) -> str:
        """The statement that reads a page and one market more, each with how many match.

        The page is chosen first: what belongs to a market and is in other tables is looked up for its markets
        alone, and not for those that the offset skips.
        """
        direction = self._order.direction
        where, sort_key = self._where, self._sort_key()
        if after is not None:
            is_time = self._order.sort in _TIMES
            kind = "timestamptz" if is_time else "numeric"
            key = self._argument(from_micros(after.key) if is_time else after.key)
            where += (
                f" and ({sort_key}, id) {_COMPARED[direction]}"
                f" ({key}::{kind}, {self._argument(after.market_id)}::text)"
            )
        trending = self._order.sort == "trending"
        joined = "left join zmartd.last_day() as day on day.market_id = markets.id" if trending else ""
        limits = f"limit {self._argument(limit + 1)} offset {self._argument(offset)}"
        in_order = f"order by sort_key {direction}, id {direction}"
        total = f"(select count(*) from markets {self._where})"  # noqa: S608 - the same
        page = f"""
            {markets.SELECTED}, sort_key
              from (select id as chosen_id, {sort_key} as sort_key from markets {joined} {where}
                    {in_order} {limits}) as chosen
              join markets on markets.id = chosen_id
        """  # noqa: S608 - constants, and the numbers of arguments
        return with_total(total, page, in_order)

    def _sort_key(self) -> str:
        if self._order.sort != "relevance":
            return _KEYS[self._order.sort]
        assert self._typed is not None, "relevance needs words"
        if not self._typed.query:
            return _NO_RELEVANCE
        query, folded = self._argument(self._typed.query), self._argument(self._typed.folded)
        return _KEYS["relevance"].format(query=query, folded=folded)

    def _argument(self, value: Any) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"
