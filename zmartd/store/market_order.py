"""What lists of markets are restricted to and sorted by, and the keys of their pages."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from zmartd.market.ids import is_market_id
from zmartd.market.lifecycle import MarketState
from zmartd.store.keyset import from_micros

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
TIMES: Final[frozenset[Sort]] = frozenset({"newest", "ending_soon"})
"""Orders whose keys are times."""
_HIGHEST: Final = 10**30


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
        if self.order.sort in TIMES:
            from_micros(self.key)
        elif not 0 <= self.key <= _HIGHEST:
            raise ValueError("key is out of range")
