"""What awaits an admin: proposals to approve, resolutions and disputes to decide. Takes a service reader."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from zmartd.market.ids import is_market_id
from zmartd.store.keyset import CountedPage, counted_page_of, from_micros, to_micros, with_total
from zmartd.store.markets import SELECTED, MarketRow, from_row
from zmartd.store.postgres.reader import Reads

_AWAITS: Final = """
not orphaned and (awaiting_admin_approval or awaiting_decision or settles_at is not null)
  and not exists (select from vote_tallies as tally
                   where tally.market_id = markets.id and tally.kind = 'dispute'
                     and tally.signature is not null)
"""
"""Not a dispute whose settlement has been sent."""
_SINCE: Final = "coalesce(state_changed_at, created_at)"
_ORDER: Final = "order by since, id"
_PAGE = with_total(
    f"(select count(*) from markets where {_AWAITS})",  # noqa: S608 - constants
    f"""
{SELECTED}, {_SINCE} as since
  from markets
 where {_AWAITS} and ($2::timestamptz is null or ({_SINCE}, id) > ($2, $3::text))
 {_ORDER} limit $1
""",
    _ORDER,
)


class MatterPageKey(Struct, frozen=True):
    """A page begins after this market. Raises ValueError for impossible values.

    `since` is in microseconds since 1970.
    """

    since: int
    market_id: str

    def __post_init__(self) -> None:
        from_micros(self.since)
        if not is_market_id(self.market_id):
            raise ValueError("market_id has to be 64 hexadecimal digits")


class AdminMatter(Struct, frozen=True):
    """A market about which an admin has something to do."""

    market: MarketRow
    since: datetime
    """Since when the market is in its state."""


async def page(
    connection: Reads, limit: int, after: MatterPageKey | None = None
) -> CountedPage[AdminMatter, MatterPageKey]:
    """A page of what awaits an admin, the oldest first, after the key `after`."""
    since = None if after is None else from_micros(after.since)
    rows = await connection.fetch(_PAGE, limit + 1, since, None if after is None else after.market_id)
    return counted_page_of(
        rows,
        limit,
        lambda row: AdminMatter(from_row(row), row["since"]),
        lambda matter: MatterPageKey(to_micros(matter.since), matter.market.id),
    )
