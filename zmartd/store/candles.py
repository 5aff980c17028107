"""Candles: a market's prices and volume, period by period."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from asyncpg import Record
from msgspec import Struct

from zmartd.market.lmsr import SCALE
from zmartd.store.postgres.reader import Reads

MOST_CANDLES: Final = 1_000

_SPAN = """
with span as (
    select date_bin($2, greatest($3, least(created_at, first_trade.at)), 'epoch') as first,
           least($4, zmartd.newest_time() + interval '1 microsecond') as until
      from markets
      left join lateral (select min(block_time) as at from trades where market_id = markets.id) as first_trade
        on true
     where id = $1
)"""
_OF_TRADES = f"""{_SPAN}, traded as (
    select date_bin($2, block_time, 'epoch') as start,
           (array_agg(price_after order by slot, index_in_block nulls first, id))[1] as open,
           max(price_after) as high, min(price_after) as low,
           (array_agg(price_after order by slot desc, index_in_block desc nulls last, id desc))[1] as close,
           sum(case trade_type when 'buy' then cost else amount end) as volume, count(*) as trades
      from trades, span
     where market_id = $1 and block_time >= span.first and block_time < span.until
     group by start
)"""  # noqa: S608 - a constant
# The last period may end before all of its trades: of it, parts of five minutes are read, and then trades.
_OF_KEPT = f"""{_SPAN}, parted as (
    select first, until, date_bin($2, until, 'epoch') as last, date_bin('5 minutes', until, 'epoch') as rest
      from span
), parts as (
    select starts_at, open, high, low, close, volume, trades
      from candles, parted
     where market_id = $1 and seconds = $5 and starts_at >= first and starts_at < last
     union all
    select starts_at, open, high, low, close, volume, trades
      from candles, parted
     where market_id = $1 and seconds = 300 and starts_at >= greatest(first, last) and starts_at < rest
     union all
    select rest, (array_agg(price_after order by slot, index_in_block nulls first, id))[1],
           max(price_after), min(price_after),
           (array_agg(price_after order by slot desc, index_in_block desc nulls last, id desc))[1],
           sum(case trade_type when 'buy' then cost else amount end), count(*)
      from trades, parted
     where market_id = $1 and block_time >= greatest(first, rest) and block_time < until
     group by rest
), traded as (
    select date_bin($2, starts_at, 'epoch') as start,
           (array_agg(open order by starts_at))[1] as open, max(high) as high, min(low) as low,
           (array_agg(close order by starts_at desc))[1] as close,
           sum(volume) as volume, sum(trades)::int as trades
      from parts group by start
)"""  # noqa: S608 - a constant
_CARRIED = """, numbered as (
    select periods.start, open, high, low, close, volume, trades,
           count(close) over (order by periods.start) as number
      from span
     cross join lateral generate_series(span.first, span.until - interval '1 microsecond', $2)
                as periods (start)
      left join traded on traded.start = periods.start
), carried as (
    select *, coalesce(
               first_value(close) over (partition by number order by start),
               (select price_after from trades
                 where market_id = $1 and block_time < (select first from span)
                 order by block_time desc, slot desc, index_in_block desc nulls last, id desc limit 1),
               0.5) as price
      from numbered
)
select start, (coalesce(open, price) * 1000000000)::bigint as open,
       (coalesce(high, price) * 1000000000)::bigint as high,
       (coalesce(low, price) * 1000000000)::bigint as low,
       (coalesce(close, price) * 1000000000)::bigint as close,
       coalesce(volume, 0) as volume, coalesce(trades, 0) as trades
  from carried order by start
"""
_KEPT_SECONDS: Final = (86_400, 3_600, 300)


class Candle(Struct, frozen=True):
    """One period of a market. Prices have nine decimals.

    Open and close are the prices after the period's first and last trade in the order of the chain. In a
    period without trades all four are the price before it.
    """

    start: datetime
    open: int
    high: int
    low: int
    close: int
    volume_lamports: int
    """Purchases with fees and sales before fees, of both outcomes."""
    trades: int

    def of_no(self) -> Candle:
        """The candle of NO, whose price is one minus that of YES: highest and lowest change places."""
        return Candle(
            self.start,
            SCALE - self.open,
            SCALE - self.low,
            SCALE - self.high,
            SCALE - self.close,
            self.volume_lamports,
            self.trades,
        )


async def of_yes(
    connection: Reads, market_id: str, period: timedelta, since: datetime, until: datetime
) -> tuple[Candle, ...]:
    """Candles of YES by time, from the period that contains `since` to the last that begins before `until`.

    Periods are aligned to 1970. There are none before the market began, and none in the future. Before the
    first trade the price is one half.
    """
    kept = next((one for one in _KEPT_SECONDS if period % timedelta(seconds=one) == timedelta(0)), None)
    if kept is None:
        rows = await connection.fetch(_OF_TRADES + _CARRIED, market_id, period, since, until)
    else:
        rows = await connection.fetch(_OF_KEPT + _CARRIED, market_id, period, since, until, kept)
    return tuple(_candle(row) for row in rows)


def _candle(row: Record) -> Candle:
    return Candle(
        row["start"], row["open"], row["high"], row["low"], row["close"], int(row["volume"]), row["trades"]
    )
