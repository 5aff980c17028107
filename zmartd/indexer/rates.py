"""Which fees were in force when."""

from __future__ import annotations

from bisect import bisect_left

from asyncpg import Connection
from msgspec import Struct

from zmartd.market.tape import FeeRates

INITIAL_RATES = FeeRates(protocol_bps=300, resolver_bps=200, lp_bps=500)
"""What initialize_global_config sets, whatever the caller asks for."""

_HISTORY = """
select slot,
       coalesce(protocol_fee_bps, $1) as protocol_bps,
       coalesce(resolver_reward_bps, $2) as resolver_bps,
       coalesce(liquidity_provider_fee_bps, $3) as lp_bps
  from protocol_config_history
 where event_type in ('GlobalConfigInitialized', 'ConfigUpdated')
 order by slot, index_in_block nulls first, event_index
"""


class RateHistory(Struct, frozen=True):
    """Fee rates by the slot they were set in, oldest first. A trade is charged what an earlier slot set."""

    slots: tuple[int, ...]
    rates: tuple[FeeRates, ...]

    def at(self, slot: int) -> FeeRates:
        position = bisect_left(self.slots, slot)
        return self.rates[position - 1] if position else INITIAL_RATES


async def rate_history(connection: Connection) -> RateHistory:
    """Every change of the fees that the index knows."""
    initial = INITIAL_RATES
    rows = await connection.fetch(_HISTORY, initial.protocol_bps, initial.resolver_bps, initial.lp_bps)
    return RateHistory(
        slots=tuple(row["slot"] for row in rows),
        rates=tuple(FeeRates(row["protocol_bps"], row["resolver_bps"], row["lp_bps"]) for row in rows),
    )
