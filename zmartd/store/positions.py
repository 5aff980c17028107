"""Wallets' positions in markets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from asyncpg import Record
from msgspec import Struct

from zmartd.market.fees import FeeRates, configured_rates
from zmartd.market.ids import is_market_id
from zmartd.market.lifecycle import MarketState
from zmartd.store.keyset import BigInt, Page, from_micros, page_of, to_micros
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads

# Each lot is looked up: Postgres takes the number of lots of a wallet for that of the usual one, and would go
# through all of them for each position. What shares have cost is worked out as `zmartd.held_cost` does it:
# calls of that function would take ten times as long as the rest.
_POSITIONS: Final = """
select held.user_wallet, held.shares_yes, held.shares_no, held.total_invested, held.total_returned,
       case when coalesce(yes.shares, 0) <= 0 or held.shares_yes <= 0 then 0
            when held.shares_yes >= yes.shares then yes.cost
            else div(yes.cost * held.shares_yes, yes.shares) end as cost_yes,
       case when coalesce(no.shares, 0) <= 0 or held.shares_no <= 0 then 0
            when held.shares_no >= no.shares then no.cost
            else div(no.cost * held.shares_no, no.shares) end as cost_no,
       held.trades_count, held.has_claimed, held.claimed_amount, held.claimed_at, held.first_trade_at,
       held.last_trade_at, held.slot, held.updated_at, held.traded_at,
       held.market_id, market.on_chain_address, market.question, market.state, market.b_parameter,
       market.shares_yes, market.shares_no, market.current_liquidity,
       (market.current_price_yes * 1000000000)::bigint as price_yes, market.proposed_outcome,
       market.final_outcome, protocol.protocol_fee_bps, protocol.resolver_reward_bps,
       protocol.liquidity_provider_fee_bps, {newest_trade} as newest_trade
  from ({chosen}) as held
  join markets as market on market.id = held.market_id
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and outcome offset 0) as yes on true
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and not outcome offset 0) as no on true
  cross join protocol
 {order}
"""
# Where another wallet has the same hash, its markets are looked at as well, and nothing else comes of it.
_ITS_LOTS: Final = "hashtextextended(user_wallet, 0) = hashtextextended($1, 0)"
_NEWEST_TRADE: Final = f"""
coalesce((select newest_trade from lots where {_ITS_LOTS}
           order by hashtextextended(user_wallet, 0), newest_trade desc limit 1), 0)
"""  # noqa: S608 - constants
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
_FIRST_PAGE: Final = _POSITIONS.format(chosen=_NOW, newest_trade=_NEWEST_TRADE, order=_LAST_TRADED_FIRST)
_LATER_PAGE: Final = _POSITIONS.format(chosen=_THEN, newest_trade="$3::bigint", order=_LAST_TRADED_FIRST)
_OF_WALLET: Final = _POSITIONS.format(
    chosen=_ALL, newest_trade=f"least($2, {_NEWEST_TRADE})", order=_LAST_TRADED_FIRST
)
_FIND: Final = _POSITIONS.format(
    chosen="select *, last_trade_at as traded_at from user_positions"
    " where user_wallet = $1 and market_id = $2",
    newest_trade="0",
    order="",
)
_ALL_TRADES: Final = 2**63 - 1
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


class PositionMarket(Struct, frozen=True):
    """What a position's value depends on. Shares, price and `b_parameter` have nine decimals."""

    id: str
    on_chain_address: str
    question: str
    state: MarketState
    b_parameter: int | None
    shares_yes: int
    shares_no: int
    current_liquidity: int
    price_yes: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    rates: FeeRates
    """The fees that a sale would be charged."""


class Position(Struct, frozen=True):
    """A wallet's holding in one market, true at `slot`. Amounts are lamports, shares have nine decimals.

    Shares can be negative for as long as an earlier purchase is not indexed yet.
    """

    user_wallet: str
    shares_yes: int
    shares_no: int
    total_invested: int
    """All purchases with fees."""
    total_returned: int
    """All sales after fees."""
    cost_yes: int
    """The cost of the YES shares still held, with fees, by the average cost method."""
    cost_no: int
    trades_count: int
    has_claimed: bool
    claimed_amount: int
    claimed_at: datetime | None
    first_trade_at: datetime | None
    last_trade_at: datetime | None
    slot: int
    updated_at: datetime
    traded_at: datetime | None
    """Its last trade when the first page of the wallet's positions was read."""
    market: PositionMarket


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

    positions: tuple[Position, ...]
    newest_trade: int
    """The wallet's last trade when the first page was read."""

    def page(self, limit: int, after: PositionPageKey | None) -> Page[Position, PositionPageKey]:
        """A page of the positions, from the beginning or after the key `after`."""

        def key_of(position: Position) -> PositionPageKey:
            return _key_of(position, self.newest_trade)

        ahead = [one for one in self.positions if after is None or key_of(one).rank > after.rank]
        return page_of(ahead, limit, key_of)


async def of_wallet(connection: Reads, wallet: str, after: PositionPageKey | None = None) -> Holdings:
    """All positions of a wallet. With `after` they are in the order in which its page was read.

    Takes a transaction or reader of that wallet.
    """
    last_trade = _ALL_TRADES if after is None else after.newest_trade
    rows = await connection.fetch(_OF_WALLET, wallet, last_trade)
    return Holdings(tuple(map(_position, rows)), rows[0]["newest_trade"] if rows else 0)


async def page(
    connection: Reads, wallet: str, limit: int | None, after: PositionPageKey | None = None
) -> Page[Position, PositionPageKey]:
    """A page of a wallet's positions, the last traded first; all that are left with a limit of None.

    Takes a transaction or reader of that wallet.
    """
    most = None if limit is None else limit + 1
    if after is None:
        rows = await connection.fetch(_FIRST_PAGE, wallet, most)
    else:
        traded_at = None if after.micros is None else from_micros(after.micros)
        key = (after.newest_trade, traded_at, after.market_id)
        rows = await connection.fetch(_LATER_PAGE, wallet, most, *key)
    newest_trade = rows[0]["newest_trade"] if rows else 0
    found = [_position(row) for row in rows]
    return page_of(found, len(found) if limit is None else limit, lambda one: _key_of(one, newest_trade))


async def find(connection: Reads, wallet: str, market_id: str) -> Position | None:
    """A wallet's position in one market. Takes a transaction or reader of that wallet."""
    row = await connection.fetchrow(_FIND, wallet, market_id)
    return None if row is None else _position(row)


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


def _key_of(position: Position, newest_trade: int) -> PositionPageKey:
    traded_at = position.traded_at
    micros = None if traded_at is None else to_micros(traded_at)
    return PositionPageKey(newest_trade, micros, position.market.id)


def _position(row: Record) -> Position:
    """The columns are those of a Position and of its PositionMarket, in their order."""
    values: tuple[Any, ...] = tuple(row)
    market = (*values[16:19], MarketState[values[19]], *values[20:27], configured_rates(*values[27:30]))
    position: list[Any] = [*values[:16], PositionMarket(*market)]
    return Position(*position)
