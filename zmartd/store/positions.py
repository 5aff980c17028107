"""Wallets' positions in markets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncpg import Record
from msgspec import Struct

from zmartd.market.fees import FeeRates, configured_rates
from zmartd.market.lifecycle import MarketState
from zmartd.store.keyset import BigInt, Page, page_of, to_micros
from zmartd.store.postgres.reader import Reads

_POSITIONS = """
select held.market_id, held.user_wallet, held.shares_yes, held.shares_no, held.total_invested,
       held.total_returned, held.trades_count, held.has_claimed, held.claimed_amount, held.claimed_at,
       held.first_trade_at, held.last_trade_at, held.slot, held.updated_at,
       zmartd.held_cost(array[coalesce(yes.shares, 0), yes.cost], held.shares_yes) as cost_yes,
       zmartd.held_cost(array[coalesce(no.shares, 0), no.cost], held.shares_no) as cost_no,
       coalesce(greatest(yes.newest_trade, no.newest_trade), 0) as newest_trade,
       case when greatest(yes.newest_trade, no.newest_trade) <= $2
            then greatest(yes.last_trade_at, no.last_trade_at)
            else (select max(block_time) from trades
                   where trades.user_wallet = $1 and trades.market_id = held.market_id and id <= $2)
       end as traded_at,
       market.on_chain_address as market_on_chain_address, market.question as market_question,
       market.state as market_state, market.b_parameter as market_b_parameter,
       market.shares_yes as market_shares_yes, market.shares_no as market_shares_no,
       market.current_liquidity as market_current_liquidity,
       (market.current_price_yes * 1000000000)::bigint as market_price_yes,
       market.proposed_outcome as market_proposed_outcome, market.final_outcome as market_final_outcome,
       protocol.protocol_fee_bps, protocol.resolver_reward_bps, protocol.liquidity_provider_fee_bps
  from user_positions as held
  join markets as market on market.id = held.market_id
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and outcome offset 0) as yes on true
  left join lateral (select * from lots where user_wallet = held.user_wallet and market_id = held.market_id
                                          and not outcome offset 0) as no on true
  cross join protocol
 where held.user_wallet = $1
"""
# Each lot is looked up: Postgres takes the number of lots of a wallet for that of the usual one, and would go
# through all of them for each position.
_OF_WALLET = _POSITIONS + "order by traded_at desc nulls last, held.market_id"
_FIND = _POSITIONS + "and held.market_id = $3"
_ALL_TRADES = 2**63 - 1
_REFUNDABLE = """
select market_id, coalesce(sum(greatest(total_invested - total_returned, 0)), 0) as refundable
  from user_positions where market_id = any($1::text[])
 group by market_id
"""
HAS_CLAIMS: Final = """
market.state = 'FINALIZED'
and exists (select from user_positions as held
             where held.market_id = market.id and not held.has_claimed
               and case when market.final_outcome is null then held.total_invested > held.total_returned
                        when market.final_outcome then held.shares_yes > 0
                        else held.shares_no > 0 end)
"""
"""SQL: whether some holder can claim in `market` and has not."""
_CLAIMABLE = f"select id from markets as market where id = any($1::text[]) and {HAS_CLAIMS}"  # noqa: S608 - constants
_MARKET_PREFIX = "market_"
_RATES = ("protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps")


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
    """A page of a wallet's positions begins after the one in this market."""

    newest_trade: BigInt
    """The wallet's last trade when the first page was read. Later trades do not change the order."""
    micros: int | None
    """When the position had last been traded then, in microseconds since 1970; None if never."""
    market_id: str

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
        ahead = [one for one in self.positions if after is None or self._key_of(one).rank > after.rank]
        return page_of(ahead, limit, self._key_of)

    def _key_of(self, position: Position) -> PositionPageKey:
        traded_at = position.traded_at
        micros = None if traded_at is None else to_micros(traded_at)
        return PositionPageKey(self.newest_trade, micros, position.market.id)


async def of_wallet(connection: Reads, wallet: str, after: PositionPageKey | None = None) -> Holdings:
    """All positions of a wallet. With `after` they are in the order in which its page was read.

    Takes a transaction or reader of that wallet.
    """
    last_trade = _ALL_TRADES if after is None else after.newest_trade
    rows = await connection.fetch(_OF_WALLET, wallet, last_trade)
    newest_trade = max((row["newest_trade"] for row in rows), default=0)
    return Holdings(tuple(_position(row) for row in rows), min(newest_trade, last_trade))


async def find(connection: Reads, wallet: str, market_id: str) -> Position | None:
    """A wallet's position in one market. Takes a transaction or reader of that wallet."""
    row = await connection.fetchrow(_FIND, wallet, _ALL_TRADES, market_id)
    return None if row is None else _position(row)


async def refundable(connection: Reads, market_ids: Sequence[str]) -> dict[str, int]:
    """For each market the lamports that all holders together paid in and did not take out.

    Takes a service reader: it sums over all wallets' positions.
    """
    rows = await connection.fetch(_REFUNDABLE, market_ids)
    return {row["market_id"]: int(row["refundable"]) for row in rows}


async def claimable(connection: Reads, market_ids: Sequence[str]) -> set[str]:
    """Of these markets those in which some holder can claim and has not.

    Takes a service reader: it reads all wallets' positions.
    """
    return {row["id"] for row in await connection.fetch(_CLAIMABLE, market_ids)}


def _position(row: Record) -> Position:
    fields = dict(row)
    del fields["newest_trade"]
    market = {"id": fields.pop("market_id")}
    for name in [name for name in fields if name.startswith(_MARKET_PREFIX)]:
        market[name.removeprefix(_MARKET_PREFIX)] = fields.pop(name)
    market["state"] = MarketState[market["state"]]
    market["rates"] = configured_rates(*[fields.pop(name) for name in _RATES])
    return Position(**fields, market=PositionMarket(**market))
