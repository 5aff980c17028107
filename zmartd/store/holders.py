"""The largest holders of a market's shares."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from zmartd.store.keyset import CountedPage, counted_page_of, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

_ORDER: Final = "order by shares desc, outcome desc, tie desc"
_OF_OUTCOME: Final = """
(select {wallet} as wallet, {outcome} as outcome, {shares} as shares,
        (select {shares} from market_holdings where market_id = $1) as shares_of_all,
        hashtextextended(user_wallet, 0) as tie
   from user_positions
  where market_id = $1 and {shares} > 0 and ({shares}, hashtextextended(user_wallet, 0)) < ({bound})
  order by {shares} desc, hashtextextended(user_wallet, 0) desc limit $2)
"""
_COLUMNS: Final = {True: "shares_yes", False: "shares_no"}
_COUNTS: Final = {True: "holders_yes", False: "holders_no"}
_WALLETS: Final = {ANONYMOUS: "zmartd.masked(user_wallet)", AUTHENTICATED: "user_wallet"}
_CHOICES: Final[tuple[tuple[bool, ...], ...]] = ((True, False), (True,), (False,))
_MOST_SHARES: Final = 10**20
_LEAST_TIE: Final = -(2**63)


def _statement(role: str, outcomes: tuple[bool, ...]) -> str:
    largest = " union all ".join(
        _OF_OUTCOME.format(
            wallet=_WALLETS[role],
            outcome=str(outcome).lower(),
            shares=_COLUMNS[outcome],
            bound=f"${place}::numeric, ${place + 1}::bigint",
        )
        for place, outcome in zip((3, 5), outcomes, strict=False)
    )
    counted = " + ".join(_COUNTS[outcome] for outcome in outcomes)
    page = f"select * from ({largest}) as largest {_ORDER} limit $2"  # noqa: S608 - constants
    total = f"coalesce((select {counted} from market_holdings where market_id = $1), 0)"  # noqa: S608 - the same
    return with_total(total, page, _ORDER)


_HOLDERS: Final = {(role, chosen): _statement(role, chosen) for role in _WALLETS for chosen in _CHOICES}


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
    tie: Annotated[int, Meta(ge=_LEAST_TIE, le=2**63 - 1)]

    def __post_init__(self) -> None:
        if not 0 <= self.shares <= _MOST_SHARES:
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

    Takes a service reader: of other wallets' positions only the shares are public.
    """
    outcomes = (True, False) if outcome is None else (outcome,)
    bounds = [value for one in outcomes for value in _bound(one, after)]
    rows = await connection.fetch(_HOLDERS[caller.role, outcomes], market_id, limit + 1, *bounds)
    return counted_page_of(rows, limit, lambda row: Holder(**row), _key_of)


def _bound(outcome: bool, after: HolderPageKey | None) -> tuple[int, int]:
    """What holders of this outcome on the page after the key have less than, in shares and tie."""
    if after is None:
        return _MOST_SHARES, _LEAST_TIE
    if outcome is after.outcome:
        return after.shares, after.tie
    # Of equally many shares, NO is behind YES.
    return after.shares + after.outcome, _LEAST_TIE


def _key_of(holder: Holder) -> HolderPageKey:
    return HolderPageKey(holder.shares, holder.outcome, holder.tie)
