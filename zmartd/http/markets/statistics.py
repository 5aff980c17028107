"""What all markets add up to."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, Time, amount
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.response_cache.policies import ManyMarkets
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.store import platform


class PlatformFees(Struct, frozen=True, kw_only=True):
    """What trades have been charged, in lamports, whether it was paid out or not."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for those who propose outcomes."""
    lp: Amount
    """Lamports for the creators, for their liquidity."""
    total: Amount
    """Lamports: all parts together."""


class PlatformBody(Struct, frozen=True, kw_only=True):
    """Sums over all markets, in lamports. Volume is purchases with fees and sales before fees."""

    as_of: Annotated[Time, Meta(description="the end of the 24 hours that the *_24h are over")]
    markets: Annotated[dict[str, int], Meta(description="how many there are, by the name of their state")]
    total_markets: int
    """Markets on the chain, in any state."""
    active_markets: int
    """Markets that are ACTIVE."""
    total_volume: Amount
    """Lamports traded ever."""
    volume_24h: Amount
    """Lamports traded in the last 24 hours."""
    total_trades: int
    """Trades ever."""
    trades_24h: int
    """Trades in the last 24 hours."""
    total_traders: int
    """Wallets that have ever traded."""
    traders_24h: int
    """Wallets that traded in the last 24 hours."""
    open_interest: Annotated[
        Amount, Meta(description="lamports held by markets whose shares are not settled yet")
    ]
    fees: PlatformFees
    """All that trades were charged ever."""


async def get_stats(call: Call[None]) -> PlatformBody:
    async with call.app[keys.DATABASE].service() as connection:
        totals = await platform.totals(connection)
    fees = totals.fees
    return PlatformBody(
        as_of=iso_time(totals.as_of),
        markets={state.name: count for state, count in totals.markets.items()},
        total_markets=sum(totals.markets.values()),
        active_markets=totals.markets[MarketState.ACTIVE],
        total_volume=amount(totals.volume),
        volume_24h=amount(totals.volume_24h),
        total_trades=totals.trades,
        trades_24h=totals.trades_24h,
        total_traders=totals.traders,
        traders_24h=totals.traders_24h,
        open_interest=amount(totals.open_interest),
        fees=PlatformFees(
            protocol=amount(fees.protocol),
            resolver=amount(fees.resolver),
            lp=amount(fees.lp),
            total=amount(fees.total),
        ),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/stats",
        handler=get_stats,
        summary="What all markets add up to",
        tag="markets",
        answers={200: PlatformBody},
        cache=ManyMarkets(),
    ),
)
