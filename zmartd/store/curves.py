"""What decides a market's prices, as the index has it: its curve, and how it is traded."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.market.tape import Curve, FeeRates, told_rates
from zmartd.store.postgres.reader import Reads

_FIND = """
select market.id, market.state, market.b_parameter, market.shares_yes, market.shares_no, market.slot,
       market.commitment, protocol.is_paused, protocol.protocol_fee_bps, protocol.resolver_reward_bps,
       protocol.liquidity_provider_fee_bps
  from markets as market, protocol
 where market.id = $1 or market.on_chain_address = $1
"""


class MarketCurve(Struct, frozen=True, kw_only=True):
    """A market's curve, true at `slot`."""

    market_id: str
    state: MarketState
    is_paused: bool
    """Whether the protocol lets nobody trade."""
    curve: Curve | None
    """None while the market's creation is not indexed yet."""
    rates: FeeRates
    slot: int
    commitment: str


async def find(connection: Reads, reference: str) -> MarketCurve | None:
    """The curve of the market with this id or on-chain address."""
    row = await connection.fetchrow(_FIND, reference)
    if row is None:
        return None
    b = row["b_parameter"]
    return MarketCurve(
        market_id=row["id"],
        state=MarketState[row["state"]],
        is_paused=row["is_paused"],
        curve=None if b is None else Curve(row["shares_yes"], row["shares_no"], b),
        rates=told_rates(
            row["protocol_fee_bps"], row["resolver_reward_bps"], row["liquidity_provider_fee_bps"]
        ),
        slot=row["slot"],
        commitment=row["commitment"],
    )
