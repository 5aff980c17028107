"""The SQL of lists of markets, so that of a list that an index has in order only the page is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from zmartd.store import markets
from zmartd.store.keyset import from_micros, with_total
from zmartd.store.market_order import TIMES, MarketFilter, MarketPageKey, Order, Sort

_HAS_WORDS: Final = "search @@ {}::tsquery"
# Stop words are in no index, but a question can be searched for by its first words.
_HAS_TEXT: Final = "position({}::text in search_text) > 0"
_KEYS: Final[dict[Sort, str]] = {
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
_BY_VOLUME: Final = """
(select market_id as id, state, total_volume from market_volumes) as volumes
 cross join lateral (select from markets where markets.id = volumes.id and {} offset 0) as market
"""
"""Markets that are looked up in the order of an index, until enough are found. Where more restricts than
state and category, other indexes find fewer, which are sorted.
"""
_NO_RELEVANCE: Final = "0::numeric(30, 0)"
_COMPARED: Final = {"asc": ">", "desc": "<"}
_IN_ORDER_BY_STATE: Final[frozenset[Sort]] = frozenset({"newest", "volume"})


class Typed(Struct, frozen=True):
    """What was typed to be searched for, as the database compares it."""

    query: str
    """A tsquery; empty when no word of it is in the index."""
    folded: str


class Query:
    """The SQL of a list, built from constants, and its arguments.

    It contains only conditions that restrict, so that the planner sees which index fits.
    """

    def __init__(
        self, where: MarketFilter, order: Order, typed: Typed | None, near: Sequence[str] = ()
    ) -> None:
        """`typed` is the filter's words; `near` are the ids of markets that have similar ones."""
        self.arguments: list[Any] = []
        self._order = order
        self._typed = typed
        # In the text: a plan that is kept uses an index of some states only if it knows which are asked for.
        self._states = [f"state = '{state.name}'" for state in where.states]
        self._conditions = ["not orphaned"]
        self._is_counted = True
        if where.category is not None:
            self._category = f"category = {self._argument(where.category)}"
        else:
            self._category = "true"
        if where.creator is not None:
            self._restrict(f"creator_wallet = {self._argument(where.creator)}")
        if where.tag is not None:
            self._restrict(f"tags @> array[{self._argument(where.tag)}::text]")
        if where.ends_after is not None:
            self._restrict(f"end_date > {self._argument(where.ends_after)}")
        if typed is not None:
            match = (
                _HAS_WORDS.format(self._argument(typed.query))
                if typed.query
                else _HAS_TEXT.format(self._argument(typed.folded))
            )
            self._restrict(f"({match} or id = any({self._argument(near)}::text[]))" if near else match)

    def page(self, after: MarketPageKey | None, limit: int, offset: int) -> str:
        """The statement that reads a page and one market more, each with how many match.

        The page is chosen first: what belongs to a market and is in other tables is looked up for its markets
        alone, and not for those that the offset skips.
        """
        direction = self._order.direction
        in_order = f"order by sort_key {direction}, id {direction}"
        limits = f"limit {self._argument(limit + 1)} offset {self._argument(offset)}"
        day, parts = "", self._parts(after)
        chosen = [part for part, _ in parts]
        if len(parts) > 1:
            # In the text, for plans that are kept; there are few powers of two.
            most = 1 << (limit + offset).bit_length()
            chosen = [f"({part} {order} limit {most})" for part, order in parts]
        if self._order.sort == "trending":
            day = "with day as materialized (select * from zmartd.last_day())"
        page = f"""
            {day} {markets.SELECTED}, sort_key
              from (select id as chosen_id, sort_key from ({" union all ".join(chosen)}) as listed
                    {in_order} {limits}) as chosen
              join markets on markets.id = chosen_id
        """  # noqa: S608 - constants, and the numbers of arguments
        return with_total(self._total(), page, in_order)

    def _restrict(self, condition: str) -> None:
        self._conditions.append(condition)
        self._is_counted = False

    def _total(self) -> str:
        """How many markets match: by counts that are kept, if only state and category restrict."""
        states = f"({' or '.join(self._states)})" if self._states else "true"
        if self._is_counted:
            return (
                "(select coalesce(sum(markets), 0)::bigint from market_counts"  # noqa: S608 - as above
                f" where {states} and {self._category})"
            )
        where = " and ".join([*self._conditions, states, self._category])
        return f"(select count(*) from markets where {where})"  # noqa: S608 - as above

    def _parts(self, after: MarketPageKey | None) -> list[tuple[str, str]]:
        """Statements whose rows together are the list from there on, each with its order."""
        direction = self._order.direction
        if self._order.sort == "trending":
            hot = (self._hot(after), f"order by sort_key {direction}, id {direction}")
            return [hot, *((quiet, f"order by id {direction}") for quiet in self._quiet(after))]
        sort_key = self._sort_key()
        order = f"order by {sort_key} {direction}, id {direction}"
        page = [] if after is None else [self._behind(sort_key, after)]
        if len(self._states) > 1 and self._is_counted and self._order.sort in _IN_ORDER_BY_STATE:
            return [(self._listed(sort_key, [*page, state]), order) for state in self._states]
        return [(self._listed(sort_key, [*page, *self._any_state()]), order)]

    def _hot(self, after: MarketPageKey | None) -> str:
        """Markets that were traded in the last day. Each is looked up."""
        page = [] if after is None else [self._behind("sort_key", after)]
        where = " and ".join([*self._conditions, self._category, *self._any_state()])
        return f"""
            select id, sort_key from day
             cross join lateral (select id, {_KEYS["trending"]} as sort_key from markets
                                  where id = day.market_id and {where} offset 0) as traded
             where {" and ".join(page) or "true"}
        """  # noqa: S608 - as above

    def _quiet(self, after: MarketPageKey | None) -> list[str]:
        """Markets that were not: their scores are 0."""
        page = ["id not in (select market_id from day)", *self._any_state()]
        if after is not None:
            direction = self._order.direction
            if after.key and direction == "asc":
                return []
            if not after.key:
                page.append(f"id {_COMPARED[direction]} {self._argument(after.market_id)}::text")
        return [self._listed("0::numeric", page)]

    def _listed(self, sort_key: str, restrictions: Sequence[str]) -> str:
        source, conditions = "markets", [*self._conditions, self._category]
        if self._order.sort == "volume" and self._is_counted:
            source, conditions = _BY_VOLUME.format(" and ".join(conditions)), []
        where = " and ".join([*conditions, *restrictions]) or "true"
        return f"select id, {sort_key} as sort_key from {source} where {where}"  # noqa: S608 - as above

    def _any_state(self) -> list[str]:
        return [f"({' or '.join(self._states)})"] if self._states else []

    def _behind(self, sort_key: str, after: MarketPageKey) -> str:
        is_time = self._order.sort in TIMES
        kind = "timestamptz" if is_time else "numeric"
        key = self._argument(from_micros(after.key) if is_time else after.key)
        return (
            f"({sort_key}, id) {_COMPARED[self._order.direction]}"
            f" ({key}::{kind}, {self._argument(after.market_id)}::text)"
        )

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
