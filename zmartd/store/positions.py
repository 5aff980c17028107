"""Wallets' positions in markets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncpg import Record
from msgspec import Struct

from zmartd.market.ids import is_market_id
from zmartd.store.keyset import BigInt, Page, from_micros, to_micros
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads
from zmartd.store.raw_positions import POSITION_ROW, Position, RawPosition, position_of

# For a page each lot is looked up.
_LOOKED_UP: Final = f"""
select {POSITION_ROW} as row, held.traded_at, {{newest_trade}} as newest_trade
  from ({{chosen}}) as held
  join markets as market on market.id = held.market_id
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and outcome offset 0) as yes on true
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and not outcome offset 0) as no on true
  cross join protocol
 {{order}}
"""  # noqa: S608 - constants
# All lots of the wallet are read at once, and found by their hash. Postgres takes their number for that of
# the usual wallet, and would go through all of them for each position: a full join is never done like that.
_READ_AT_ONCE: Final = f"""
select {POSITION_ROW} as row, held.traded_at, {{newest_trade}} as newest_trade
  from ({{chosen}} offset 0) as held
  full join (select market_id, shares, cost from lots where user_wallet = $1 and outcome offset 0) as yes
    on yes.market_id = held.market_id
  full join (select market_id, shares, cost from lots where user_wallet = $1 and not outcome offset 0) as no
    on no.market_id = held.market_id
  left join lateral (
    select on_chain_address, question, state, b_parameter, shares_yes, shares_no, current_liquidity,
           current_price_yes, proposed_outcome, final_outcome
      from markets where id = held.market_id offset 0
  ) as market on true
  join protocol on coalesce(held.market_id, '') <> ''
 {{order}}
"""  # noqa: S608 - the same
# Where another wallet has the same hash, its markets are looked at as well, and nothing else comes of it.
_ITS_LOTS: Final = "hashtextextended(user_wallet, 0) = hashtextextended($1, 0)"
NEWEST_TRADE: Final = f"""
coalesce((select newest_trade from lots where {_ITS_LOTS}
           order by hashtextextended(user_wallet, 0), newest_trade desc limit 1), 0)
"""  # noqa: S608 - constants
"""SQL: the newest trade of the wallet $1; 0 without any."""
_TRADED_SINCE: Final = f"(select market_id from lots where {_ITS_LOTS} and newest_trade > {{newest}})"  # noqa: S608
_TRADED_BEFORE: Final = """
(select max(block_time) from trades
  where trades.user_wallet = $1 and trades.market_id = held.market_id and id <= {newest})
"""
_PLACE: Final = "coalesce({}, '-infinity')"
_LAST_TRADED_FIRST: Final = f"order by {_PLACE.format('held.traded_at')} desc, held.market_id"
_AFTER_THE_KEY: Final = (
    "{place} <= coalesce($4::timestamptz, '-infinity')"
    " and ({place} < coalesce($4, '-infinity') or market_id > $5)"
)
_NOW: Final = f"""
select *, last_trade_at as traded_at from user_positions where user_wallet = $1
 order by {_PLACE.format("last_trade_at")} desc, market_id limit $2
"""  # noqa: S608 - constants
# Of those that were not traded since the first page only the page's are read, and of the others all.
_THEN: Final = f"""
select * from (
    (select *, last_trade_at as traded_at from user_positions
      where user_wallet = $1 and {_AFTER_THE_KEY.format(place=_PLACE.format("last_trade_at"))}
        and market_id not in {_TRADED_SINCE.format(newest="$3")}
      order by {_PLACE.format("last_trade_at")} desc, market_id limit $2)
     union all
    (select *, {_TRADED_BEFORE.format(newest="$3")} as traded_at from user_positions as held
      where user_wallet = $1 and market_id in {_TRADED_SINCE.format(newest="$3")})
) as held
 where {_AFTER_THE_KEY.format(place=_PLACE.format("traded_at"))}
 {_LAST_TRADED_FIRST} limit $2
"""  # noqa: S608 - the same
_ALL: Final = f"""
select *, case when market_id in {_TRADED_SINCE.format(newest="$2")}
               then {_TRADED_BEFORE.format(newest="$2")} else last_trade_at end as traded_at
  from user_positions as held where user_wallet = $1
"""  # noqa: S608 - the same
_FIRST_PAGE: Final = kept(_LOOKED_UP.format(chosen=_NOW, newest_trade=NEWEST_TRADE, order=_LAST_TRADED_FIRST))
_LATER_PAGE: Final = _LOOKED_UP.format(chosen=_THEN, newest_trade="$3::bigint", order=_LAST_TRADED_FIRST)
_WHOLE: Final = kept(
    _READ_AT_ONCE.format(
        chosen="select *, last_trade_at as traded_at from user_positions where user_wallet = $1",
        newest_trade=NEWEST_TRADE,
        order=_LAST_TRADED_FIRST,
    )
)
_WHOLE_THEN: Final = _READ_AT_ONCE.format(
    chosen=_ALL, newest_trade=f"least($2, {NEWEST_TRADE})", order=_LAST_TRADED_FIRST
)
_FIND: Final = kept(
    _LOOKED_UP.format(
        chosen="select *, last_trade_at as traded_at from user_positions"
        " where user_wallet = $1 and market_id = $2",
        newest_trade="0",
        order="",
    )
)
_REFUNDABLE = kept("select market_id, refundable from market_holdings where market_id = any($1::text[])")
HAS_CLAIMS: Final = """
market.state = 'FINALIZED'
and exists (select from market_holdings as held
             where held.market_id = market.id
               and case when market.final_outcome is null then unclaimed_refunds
                        when market.final_outcome then unclaimed_yes
                        else unclaimed_no end > 0)
"""
"""SQL: whether some holder can claim in `market` and has not."""
_CLAIMABLE = kept(f"select id from markets as market where id = any($1::text[]) and {HAS_CLAIMS}")  # noqa: S608


class PositionPageKey(Struct, frozen=True, tag="positions/1"):
    """A page of a wallet's positions begins after the one in this market.

    Raises ValueError for an invalid time or market id.
    """

    newest_trade: BigInt
    """The wallet's last trade when the first page was read. Later trades do not change the order."""
    micros: int | None
    """When the position had last been traded then, in microseconds since 1970; None if never."""
    market_id: str

    def __post_init__(self) -> None:
        if self.micros is not None:
            from_micros(self.micros)
        if not is_market_id(self.market_id):
            raise ValueError("market_id has to be 64 hexadecimal digits")

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Sorts positions: the last traded first, those never traded last."""
        return self.micros is None, -(self.micros or 0), self.market_id


class Holdings(Struct, frozen=True):
    """All positions of a wallet, the last traded first."""

    rows: tuple[RawPosition, ...]
    traded_at: tuple[datetime | None, ...]
    """The last trade of each when the first page of them was read."""
    newest_trade: int
    """The wallet's last trade when the first page was read."""

    @property
    def positions(self) -> tuple[Position, ...]:
        return tuple(map(position_of, self.rows))

    def page(self, limit: int, after: PositionPageKey | None) -> Page[RawPosition, PositionPageKey]:
        """A page of the positions, from the beginning or after the key `after`."""
        begin = 0
        if after is not None:
            begin = bisect_right(range(len(self.rows)), after.rank, key=lambda place: self._key(place).rank)
        end = begin + limit
        rows = self.rows[begin:end]
        return Page(rows, self._key(end - 1) if rows and end < len(self.rows) else None)

    def _key(self, place: int) -> PositionPageKey:
        traded_at = self.traded_at[place]
        micros = None if traded_at is None else to_micros(traded_at)
        return PositionPageKey(self.newest_trade, micros, position_of(self.rows[place]).market.id)


async def of_wallet(connection: Reads, wallet: str, after: PositionPageKey | None = None) -> Holdings:
    """All positions of a wallet. With `after` they are in the order in which its page was read.

    Takes a transaction or reader of that wallet.
    """
    if after is None:
        return _holdings(await connection.fetch(_WHOLE, wallet))
    return _holdings(await connection.fetch(_WHOLE_THEN, wallet, after.newest_trade))


async def page(
    connection: Reads, wallet: str, limit: int | None, after: PositionPageKey | None = None
) -> Page[RawPosition, PositionPageKey]:
    """A page of a wallet's positions, the last traded first; all that are left with a limit of None.

    Takes a transaction or reader of that wallet.
    """
    if limit is None and after is None:
        return Page((await of_wallet(connection, wallet)).rows, None)
    most = None if limit is None else limit + 1
    if after is None:
        found = _holdings(await connection.fetch(_FIRST_PAGE, wallet, most))
    else:
        traded_at = None if after.micros is None else from_micros(after.micros)
        key = (after.newest_trade, traded_at, after.market_id)
        found = _holdings(await connection.fetch(_LATER_PAGE, wallet, most, *key))
    return found.page(len(found.rows) if limit is None else limit, None)


async def find(connection: Reads, wallet: str, market_id: str) -> RawPosition | None:
    """A wallet's position in one market. Takes a transaction or reader of that wallet."""
    row = await connection.fetchrow(_FIND, wallet, market_id)
    return None if row is None else RawPosition(row["row"])


async def refundable(connection: Reads, market_ids: Sequence[str]) -> dict[str, int]:
    """For each market the lamports that all holders together paid in and did not take out.

    Takes a service reader: the sums are of all wallets' positions.
    """
    rows = await connection.fetch(_REFUNDABLE, market_ids)
    return {row["market_id"]: int(row["refundable"]) for row in rows}


async def claimable(connection: Reads, market_ids: Sequence[str]) -> set[str]:
    """Of these markets those in which some holder can claim and has not.

    Takes a service reader: the counts are of all wallets' positions.
    """
    return {row["id"] for row in await connection.fetch(_CLAIMABLE, market_ids)}


def _holdings(found: Sequence[Record]) -> Holdings:
    newest_trade = found[0]["newest_trade"] if found else 0
    return Holdings(
        tuple(RawPosition(one["row"]) for one in found),
        tuple(one["traded_at"] for one in found),
        newest_trade,
    )
