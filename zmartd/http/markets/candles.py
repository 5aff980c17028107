"""A market's price as charts draw it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, MarketKey, Moment, Price, Time, amount, price
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.markets.lookup import find_market
from zmartd.http.markets.schemas import OutcomeLabel
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
_USUAL_CANDLES = 100


class ChartTime(Moment):
    """A time from 1971 to 9000."""

    @classmethod
    def parse(cls, raw: Any) -> Self:
        moment = super().parse(raw)
        if not 1971 <= moment.year <= 9000:
            raise ValueError("out of range")
        return moment


class CandlesQuery(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    interval: Annotated[Interval, Meta(description="1m, 5m, 1h, 4h or 1d")] = "1h"
    from_: Annotated[ChartTime | None, Meta(description="a time with its offset from UTC, ISO 8601")] = None
    to: Annotated[ChartTime | None, Meta(description="a time with its offset from UTC, ISO 8601")] = None
    outcome: Annotated[OutcomeLabel, Meta(description="YES or NO")] = "YES"


class CandleBody(Struct, frozen=True, kw_only=True):
    """One period: the prices after its first and last trade, and the highest and lowest.

    Without trades all four are the price before it.
    """

    timestamp: Annotated[Time, Meta(description="when the period begins")]
    open: Price
    """SOL a share, after the period's first trade."""
    high: Price
    """SOL a share, the highest after any trade of the period."""
    low: Price
    """SOL a share, the lowest after any trade of the period."""
    close: Price
    """SOL a share, after the period's last trade."""
    volume: Annotated[
        Amount, Meta(description="lamports: purchases with fees and sales before fees, of both outcomes")
    ]
    trades: int
    """Trades of both outcomes in the period."""


class CandleList(Struct, frozen=True, kw_only=True):
    """A market's periods, oldest first. The last one may still be under way."""

    market_id: MarketKey
    interval: Interval
    """How long each period is, as asked for."""
    outcome: OutcomeLabel
    """The outcome whose prices these are, as asked for."""
    candles: tuple[CandleBody, ...]
    """The periods without gaps, oldest first."""
    count: int
    """How many candles there are."""


async def list_candles(call: Call[CandlesQuery]) -> CandleList:
    """From the period that `from` is in to the last that begins before `to`, at most 1,000 of them.

    Without `to` up to now, without `from` the last 100. There are none from before the market began.
    """
    query = call.input
    period = PERIODS[query.interval]
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
        until = query.to or await discovery.newest_time(connection) + timedelta.resolution
        since = query.from_ or until - _USUAL_CANDLES * period
        _check(since, until, period)
        found = await candles.of_yes(connection, market.id, period, since, until)
    bodies = tuple(_body(one if query.outcome == "YES" else one.of_no()) for one in found)
    return CandleList(
        market_id=market.id,
        interval=query.interval,
        outcome=query.outcome,
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
        trades=candle.trades,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/candles",
        handler=list_candles,
        summary="A market's price, period by period",
        tag="markets",
        query=CandlesQuery,
        answers={200: CandleList},
        errors=(MarketNotFound,),
    ),
)
