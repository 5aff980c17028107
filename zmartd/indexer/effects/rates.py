"""Which fees were in force when."""

from __future__ import annotations

from bisect import bisect_left

from asyncpg import Connection
from msgspec import Struct

from zmartd.market.tape import INITIAL_RATES, FeeRates, told_rates

_HISTORY = """
select slot, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps
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
    rows = await connection.fetch(_HISTORY)
    return RateHistory(
        slots=tuple(slot for slot, *_ in rows), rates=tuple(told_rates(*rates) for _, *rates in rows)
    )
