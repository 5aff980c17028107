"""Totals over all markets, and the fees of one."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.reader import Reads

# What has left the day since the standings were added up is taken from them, and what came is added. Where
# that is more than the day itself, because they are old, the wallets of the day are counted.
_TRADERS_OF_THE_DAY = """
case when (select abs(extract(epoch from as_of - interval '24 hours' - since)) < 43200
             from standing_periods where period = '24h')
     then zmartd.traders_of('24h', as_of + interval '1 microsecond')
     else (select count(distinct trade.user_wallet)
             from trade_results as result join trades as trade on trade.id = result.trade_id
            where result.at > zmartd.newest_time() - interval '24 hours')
end
"""
# One statement, so that all sums are of one snapshot. Where there is no market, its only row has no state.
_TOTALS = f"""
with day as materialized (
    select zmartd.newest_time() as as_of
), last_24h as materialized (
    select as_of, coalesce(sum(traded.volume), 0) as volume_24h,
           coalesce(sum(traded.trades), 0)::bigint as trades_24h,
           {_TRADERS_OF_THE_DAY} as traders_24h,
           zmartd.traders_of('all', as_of)
           + (select count(distinct user_wallet)
                from (select id from markets where corrected_slot is not null offset 0) as corrected
                join user_positions as held on held.market_id = corrected.id
               where held.trades_count > 0
                 and not exists (select from lots where lots.user_wallet = held.user_wallet)) as traders_ever
      from day left join lateral zmartd.all_traded_since(as_of - interval '24 hours') as traded on true
     group by as_of
), by_state as (
    select state, count(*) as markets, sum(total_volume) as volume, sum(trades_count) as trades,
           sum(current_liquidity) as liquidity, sum(accumulated_protocol_fees) as protocol_fees,
           sum(resolver_fees_earned) as resolver_fees, sum(lp_fees_earned) as lp_fees
      from markets where not orphaned group by state
)
select * from last_24h left join by_state on true
"""  # noqa: S608 - constants
_FEES = """
select accumulated_protocol_fees as protocol, resolver_fees_earned as resolver, lp_fees_earned as lp
  from markets where id = $1
"""
_OPEN_STATES = frozenset({MarketState.ACTIVE, MarketState.RESOLVING, MarketState.DISPUTED})


class ChargedFees(Struct, frozen=True):
    """Fees that trades were charged, in lamports, whether they were paid out or not."""

    protocol: int
    resolver: int
    lp: int

    @property
    def total(self) -> int:
        return self.protocol + self.resolver + self.lp


class PlatformTotals(Struct, frozen=True):
    """Sums over all markets, in lamports. Volume is purchases with fees and sales before fees."""

    as_of: datetime
    """The end of the 24 hours that the `_24h` sums cover."""
    markets: dict[MarketState, int]
    volume: int
    volume_24h: int
    trades: int
    trades_24h: int
    traders: int
    traders_24h: int
    open_interest: int
    """Liquidity of markets without a final outcome: lamports from creators and traders."""
    fees: ChargedFees


async def totals(connection: Reads) -> PlatformTotals:
    """The totals. Takes a service transaction: it counts wallets."""
    rows = await connection.fetch(_TOTALS)
    states = {MarketState[row["state"]]: row for row in rows if row["state"] is not None}
    last_24h = rows[0]

    def total(column: str) -> int:
        return sum(int(row[column]) for row in states.values())

    return PlatformTotals(
        as_of=last_24h["as_of"],
        markets={state: states[state]["markets"] if state in states else 0 for state in MarketState},
        volume=total("volume"),
        volume_24h=int(last_24h["volume_24h"]),
        trades=total("trades"),
        trades_24h=last_24h["trades_24h"],
        traders=last_24h["traders_ever"],
        traders_24h=last_24h["traders_24h"],
        open_interest=sum(int(row["liquidity"]) for state, row in states.items() if state in _OPEN_STATES),
        fees=ChargedFees(total("protocol_fees"), total("resolver_fees"), total("lp_fees")),
    )


async def fees_of(connection: Reads, market_id: str) -> ChargedFees | None:
    """The fees that the trades of one market were charged; None if it is not indexed."""
    row = await connection.fetchrow(_FEES, market_id)
    return None if row is None else ChargedFees(**dict(row))
