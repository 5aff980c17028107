"""Price charts: a market's prices by period."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Amount, DateTime, MarketKey, Price, Time, amount, price
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import any_market
from zmartd.http.markets.schemas import OutcomeFilter, OutcomeLabel, outcome_label
from zmartd.market.iso_time import iso_time
from zmartd.store import candles, discovery
from zmartd.store.candles import MOST_CANDLES, Candle
from zmartd.store.markets import MarketNotFound

Interval = Literal["1m", "5m", "1h", "4h", "1d"]

PERIODS: Final[dict[Interval, timedelta]] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}
_DEFAULT_CANDLES = 100


class ChartTime(DateTime):
    """A time from 1971 to 9000."""

    @classmethod
    def parse(cls, raw: Any) -> Self:
        moment = super().parse(raw)
        if not 1971 <= moment.year <= 9000:
            raise ValueError("out of range")
        return moment


class CandlesQuery(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    interval: Annotated[Interval, Meta(description="1m, 5m, 1h, 4h or 1d")] = "1h"
    """How long the period of a candle is."""
    from_: Annotated[
        ChartTime | None, Meta(description="a time with its offset from UTC, as in 2030-01-01T12:00:00Z")
    ] = None
    """A time in the first period; without it 100 periods before `to`."""
    to: Annotated[
        ChartTime | None, Meta(description="a time with its offset from UTC, as in 2030-01-01T12:00:00Z")
    ] = None
    """A time that the last period begins before; without it now, by the chain's clock."""
    outcome: Annotated[OutcomeFilter | None, Meta(description="true for YES, or false for NO")] = None
    """Whose prices; those of YES unless it is given."""


class CandleBody(Struct, frozen=True, kw_only=True):
    """One period: the prices after its first and last trade, the highest and the lowest.

    In a period without trades all four are the price before it.
    """

    timestamp: Annotated[Time, Meta(description="the beginning of the period")]
    open: Price
    """The price in SOL after the first trade of the period."""
    high: Price
    """The highest price in SOL after a trade of the period."""
    low: Price
    """The lowest price in SOL after a trade of the period."""
    close: Price
    """The price in SOL after the last trade of the period."""
    volume: Annotated[
        Amount, Meta(description="lamports: purchases with fees and sales before fees, of both outcomes")
    ]
    trades_count: int
    """The number of trades in the period, of both outcomes."""


class CandleList(Struct, frozen=True, kw_only=True):
    """The candles of a market, oldest first. The last period may not have ended yet."""

    market_id: MarketKey
    interval: Interval
    """The length of each period, as requested."""
    outcome: bool
    """The outcome whose prices these are, as requested: true for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The name of the outcome."""
    candles: tuple[CandleBody, ...]
    """Consecutive periods, oldest first."""
    count: int
    """The number of candles."""


async def list_candles(call: Call[CandlesQuery]) -> CandleList:
    """At most 1,000 candles, from the period that contains `from` to the last that begins before `to`.

    `to` defaults to now, `from` to 100 periods before `to`. No candle is before the market's beginning.
    """
    query = call.input
    period = PERIODS[query.interval]
    outcome = query.outcome is None or bool(query.outcome)
    async with call.database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        until = query.to or await discovery.newest_time(connection) + timedelta.resolution
        since = query.from_ or until - _DEFAULT_CANDLES * period
        _check(since, until, period)
        found = await candles.of_yes(connection, market.id, period, since, until)
    bodies = tuple(_body(one if outcome else one.of_no()) for one in found)
    return CandleList(
        market_id=market.id,
        interval=query.interval,
        outcome=outcome,
        outcome_label=outcome_label(outcome),
        candles=bodies,
        count=len(bodies),
    )


def _check(since: datetime, until: datetime, period: timedelta) -> None:
    if since >= until:
        raise InvalidRequest(Problem("from", "must be before to"))
    if until - since > MOST_CANDLES * period:
        raise InvalidRequest(Problem("from", f"must be at most {MOST_CANDLES} intervals before to"))


def _body(candle: Candle) -> CandleBody:
    return CandleBody(
        timestamp=iso_time(candle.start),
        open=price(candle.open),
        high=price(candle.high),
        low=price(candle.low),
        close=price(candle.close),
        volume=amount(candle.volume_lamports),
        trades_count=candle.trades,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/candles",
        handler=list_candles,
        shows_market=True,
        summary="The candles of a market's price chart",
        tag="markets",
        access=Access.PUBLIC,
        query=CandlesQuery,
        responses={200: CandleList},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
)
