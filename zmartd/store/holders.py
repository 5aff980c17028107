"""The largest holders of a market's shares."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from zmartd.store.keyset import CountedPage, counted_page_of, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

_ORDER = "order by shares desc, outcome desc, tie desc"
_COMPARED = """
with held as (
    select user_wallet, true as outcome, shares_yes as shares from user_positions
     where market_id = $1 and shares_yes > 0
    union all
    select user_wallet, false, shares_no from user_positions where market_id = $1 and shares_no > 0
), compared as (
    select user_wallet as wallet, outcome, shares, sum(shares) over (partition by outcome) as shares_of_all,
           hashtextextended(user_wallet, 0) as tie
      from held
), chosen as (
    select wallet, outcome, shares, shares_of_all, tie from compared where $2::boolean is null or outcome = $2
)
"""
_PAGE = f"""
select * from chosen
 where $3::numeric is null or (shares, outcome, tie) < ($3, $4::boolean, $5::bigint)
 {_ORDER} limit $6
"""  # noqa: S608 - constants
_WHOLE_WALLETS = _COMPARED + with_total("(select count(*) from chosen)", _PAGE, _ORDER)
_HOLDERS = {
    ANONYMOUS: _WHOLE_WALLETS.replace("user_wallet as wallet", "zmartd.masked(user_wallet) as wallet"),
    AUTHENTICATED: _WHOLE_WALLETS,
}


class Holder(Struct, frozen=True):
    """A wallet's shares of one outcome, with nine decimals."""

    wallet: str
    """Shortened for anonymous callers."""
    outcome: bool
    shares: int
    shares_of_all: int
    """What all wallets together hold of this outcome."""
    tie: int
    """A hash that orders holders of equally many shares and does not reveal who they are."""


class HolderPageKey(Struct, frozen=True):
    """A page begins after this holder. Raises ValueError for an impossible number of shares."""

    shares: int
    outcome: bool
    tie: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

    def __post_init__(self) -> None:
        if not 0 <= self.shares <= 10**20:
            raise ValueError("shares are out of range")


async def of_market(
    connection: Reads,
    caller: Caller,
    market_id: str,
    *,
    outcome: bool | None,
    limit: int,
    after: HolderPageKey | None = None,
) -> CountedPage[Holder, HolderPageKey]:
    """A page of the holders of one outcome or of both, the largest first, with wallets as `caller` sees them.

    All positions of the market are read for what they come to together; to count them costs no more.

    Takes a service reader: of other wallets' positions only the shares are public.
    """
    key = (None, None, None) if after is None else (after.shares, after.outcome, after.tie)
    rows = await connection.fetch(_HOLDERS[caller.role], market_id, outcome, *key, limit + 1)
    return counted_page_of(rows, limit, lambda row: Holder(**row), _key_of)


def _key_of(holder: Holder) -> HolderPageKey:
    return HolderPageKey(holder.shares, holder.outcome, holder.tie)
