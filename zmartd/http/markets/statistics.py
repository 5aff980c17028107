"""Statistics: sums over the trades of one market, and over all markets."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import earlier_answers, keys
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, MarketKey, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.fees import FeeBody, fee_body
from zmartd.http.markets.lookup import any_market
from zmartd.http.response_cache.policies import CacheForAllMarkets
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.store import platform, trades
from zmartd.store.markets import MarketNotFound


class Statistics(Struct, frozen=True, kw_only=True):
    """Sums over the trades of a market. Volume is purchases with fees and sales before fees."""

    total_volume: Amount
    """Lamports of purchases and sales."""
    trades_count: int
    """The number of trades."""
    traders_count: int
    """The number of wallets that have ever traded in the market."""
    buy_volume: Amount
    """Lamports of purchases, with fees."""
    sell_volume: Amount
    """Lamports of sales, before fees."""
    total_trades: Annotated[int, DEPRECATED]
    """The same as trades_count."""
    unique_traders: Annotated[int, DEPRECATED]
    """The same as traders_count."""


class MarketStatistics(Struct, frozen=True):
    market_id: MarketKey
    stats: Statistics
    """Zeros for a market without trades."""


class PlatformBody(Struct, frozen=True, kw_only=True):
    """Sums over all markets. Volume is purchases with fees and sales before fees."""

    as_of: Annotated[Time, Meta(description="the end of the 24 hours that the *_24h fields cover")]
    markets_by_state: Annotated[
        dict[str, int], Meta(description="the number of markets by the name of their state")
    ]
    markets_count: int
    """The number of markets on the chain, in any state."""
    active_markets: int
    """The number of ACTIVE markets."""
    total_volume: Amount
    """Lamports traded since the beginning."""
    volume_24h: Amount
    """Lamports traded in the last 24 hours."""
    trades_count: int
    """The number of trades since the beginning."""
    trades_24h: int
    """The number of trades in the last 24 hours."""
    traders_count: int
    """The number of wallets that have ever traded."""
    traders_24h: int
    """The number of wallets that traded in the last 24 hours."""
    open_interest: Annotated[
        Amount, Meta(description="lamports in the pools of ACTIVE, RESOLVING and DISPUTED markets")
    ]
    fees: FeeBody
    """The fees charged since the beginning."""


async def get_market_statistics(call: Call[None]) -> MarketStatistics:
    database = call.app[keys.DATABASE]
    async with database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
    async with database.service_reader() as connection:
        sums = await trades.statistics(connection, market.id)
    stats = Statistics(
        total_volume=amount(sums.total_volume),
        trades_count=sums.trades,
        traders_count=sums.traders,
        buy_volume=amount(sums.buy_volume),
        sell_volume=amount(sums.sell_volume),
        **earlier_answers.of_market_statistics(sums.trades, sums.traders),
    )
    return MarketStatistics(market.id, stats)


async def get_platform_statistics(call: Call[None]) -> PlatformBody:
    async with call.app[keys.DATABASE].service() as connection:
        totals = await platform.totals(connection)
    return PlatformBody(
        as_of=iso_time(totals.as_of),
        markets_by_state={state.name: count for state, count in totals.markets.items()},
        markets_count=sum(totals.markets.values()),
        active_markets=totals.markets[MarketState.ACTIVE],
        total_volume=amount(totals.volume),
        volume_24h=amount(totals.volume_24h),
        trades_count=totals.trades,
        trades_24h=totals.trades_24h,
        traders_count=totals.traders,
        traders_24h=totals.traders_24h,
        open_interest=amount(totals.open_interest),
        fees=fee_body(totals.fees),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/stats",
        handler=get_market_statistics,
        shows_market=True,
        summary="Trading statistics of a market",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: MarketStatistics},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/stats",
        handler=get_platform_statistics,
        summary="Statistics of all markets",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: PlatformBody},
        cache=CacheForAllMarkets(),
    ),
)
