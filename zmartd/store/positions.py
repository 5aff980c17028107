"""What wallets hold in markets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.market.tape import FeeRates

_LOTS = """
with lots as (
    select market_id, outcome,
           zmartd.lot(trade_type = 'buy', shares, cost order by slot, index_in_block nulls first, id) as lot
      from trades where user_wallet = $1
"""
_COLUMNS = """
     group by market_id, outcome
)
select held.market_id, held.user_wallet, held.shares_yes, held.shares_no, held.total_invested,
       held.total_returned, held.trades_count, held.has_claimed, held.claimed_amount, held.claimed_at,
       held.first_trade_at, held.last_trade_at, held.slot, held.updated_at,
       zmartd.held_cost(yes.lot, held.shares_yes) as cost_yes,
       zmartd.held_cost(no.lot, held.shares_no) as cost_no,
       market.on_chain_address as market_on_chain_address, market.question as market_question,
       market.state as market_state, market.b_parameter as market_b_parameter,
       market.shares_yes as market_shares_yes, market.shares_no as market_shares_no,
       market.current_liquidity as market_current_liquidity,
       (market.current_price_yes * 1000000000)::bigint as market_price_yes,
       market.proposed_outcome as market_proposed_outcome, market.final_outcome as market_final_outcome,
       protocol.protocol_fee_bps, protocol.resolver_reward_bps, protocol.liquidity_provider_fee_bps
  from user_positions as held
  join markets as market on market.id = held.market_id
  left join lots as yes on yes.market_id = held.market_id and yes.outcome
  left join lots as no on no.market_id = held.market_id and not no.outcome
  cross join protocol
 where held.user_wallet = $1
"""
_OF_WALLET = _LOTS + _COLUMNS + "order by held.last_trade_at desc nulls last, held.market_id"
_FIND = _LOTS + "and market_id = $2" + _COLUMNS + "and held.market_id = $2"
_REFUNDABLE = """
select market_id, coalesce(sum(greatest(total_invested - total_returned, 0)), 0) as refundable
  from user_positions where market_id = any($1::text[])
 group by market_id
"""
_MARKET_PREFIX = "market_"
_RATES = ("protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps")


class HeldMarket(Struct, frozen=True):
    """What a position's worth depends on. Shares, price and `b_parameter` have nine decimals."""

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
    rates: FeeRates | None
    """What a sale would be charged; None while the protocol's configuration is unknown."""


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
    """What the YES shares still held have cost with fees, by the average cost method."""
    cost_no: int
    trades_count: int
    has_claimed: bool
    claimed_amount: int
    claimed_at: datetime | None
    first_trade_at: datetime | None
    last_trade_at: datetime | None
    slot: int
    updated_at: datetime
    market: HeldMarket


async def of_wallet(connection: Connection, wallet: str) -> tuple[Position, ...]:
    """All positions of a wallet as of one moment, last traded first. Takes a transaction of that wallet's."""
    return tuple(_position(row) for row in await connection.fetch(_OF_WALLET, wallet))


async def find(connection: Connection, wallet: str, market_id: str) -> Position | None:
    """A wallet's position in one market. Takes a transaction of that wallet's."""
    row = await connection.fetchrow(_FIND, wallet, market_id)
    return None if row is None else _position(row)


async def refundable(connection: Connection, market_ids: Sequence[str]) -> dict[str, int]:
    """For each market the lamports that all holders together paid in and did not take out.

    Takes a service transaction: it counts everybody's positions.
    """
    rows = await connection.fetch(_REFUNDABLE, market_ids)
    return {row["market_id"]: int(row["refundable"]) for row in rows}


def _position(row: Record) -> Position:
    fields = dict(row)
    market = {"id": fields.pop("market_id")}
    for name in [name for name in fields if name.startswith(_MARKET_PREFIX)]:
        market[name.removeprefix(_MARKET_PREFIX)] = fields.pop(name)
    market["state"] = MarketState[market["state"]]
    rates = [fields.pop(name) for name in _RATES]
    market["rates"] = None if None in rates else FeeRates(*rates)
    return Position(**fields, market=HeldMarket(**market))
