"""Trending markets, categories, and markets related to another one."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from asyncpg import Record
from msgspec import Struct

from zmartd.market.lmsr import SCALE
from zmartd.store.postgres.reader import Reads

_NEWEST_TIME = "select zmartd.newest_time()"
# Markets are looked up one by one: Postgres takes a function's rows for many, and would read all markets.
_TRENDING = """
with traded as (
    select id, total_volume, volume, traders, zmartd.trending_score(volume, traders) as score
      from zmartd.last_day() as day
     cross join lateral (select id, total_volume from markets
                          where id = day.market_id and not orphaned and state = 'ACTIVE' offset 0) as market
), quiet as (
    select market_id as id, total_volume, 0 as volume, 0 as traders, 0 as score from market_volumes
     cross join lateral (select from markets where id = market_id and not orphaned offset 0) as market
     where state = 'ACTIVE' and market_id not in (select id from traded)
     order by total_volume desc, market_id desc limit $1
), hottest as (
    select * from traded union all select * from quiet
     order by score desc, total_volume desc, id desc limit $1
)
select market.id, question, volume, traders, score, (current_price_yes * 1000000000)::bigint as price_yes,
       (zmartd.price_at(market.id, zmartd.newest_time() - interval '24 hours') * 1000000000)::bigint
       as price_yes_before, zmartd.stream_position(market.id) as stream_position
  from hottest
 cross join lateral (select * from markets where markets.id = hottest.id offset 0) as market
 order by score desc, hottest.total_volume desc, market.id desc
"""
DAY: Final = """
select coalesce((select traders from market_traders where market_id = market.id), 0) as traders,
       zmartd.volume_since(market.id, day.began) as volume,
       (select count(distinct user_wallet) from lots
         where market_id = market.id and last_trade_at > day.began) as traders_24h,
       (current_price_yes * 1000000000)::bigint as price_yes,
       (zmartd.price_at(id, day.began) * 1000000000)::bigint as price_yes_before
  from markets
 cross join (select zmartd.newest_time() - interval '24 hours' as began offset 0) as day
 where id = market.id
"""
"""SQL: the fields of the `MarketDay` of `market`, in one row. A plan that knew when the day began would go
through all that was traded in it, if that is little now."""
_CATEGORIES = """
with day as materialized (
    select zmartd.newest_time() - interval '24 hours' as began
), counted as (
    select category, sum(markets)::bigint as markets,
           coalesce(sum(markets) filter (where state = 'ACTIVE'), 0)::bigint as active
      from market_counts group by category having sum(markets) > 0
), traded as (
    select category, sum(lately.volume) as volume, sum(before.volume) as volume_before
      from day
     cross join lateral zmartd.all_traded_since(began - interval '24 hours') as before
      left join lateral zmartd.all_traded_since(began) as lately using (market_id)
     cross join lateral (select category from markets
                          where id = market_id and not orphaned offset 0) as market
     group by category
)
select category as name, markets, active, coalesce(volume, 0) as volume,
       coalesce(volume_before, 0) - coalesce(volume, 0) as volume_before
  from counted left join traded using (category)
 order by markets desc, category
"""
_RELATED = """
select id, question, category, (current_price_yes * 1000000000)::bigint as price_yes,
       zmartd.stream_position(id) as stream_position from (
    (select *, 0 as distance from markets
      where not orphaned and state = 'ACTIVE' and category = $2 and id <> $1
      order by created_at desc, id desc limit $3)
    union all
    (select *, 1 as distance from markets
      where not orphaned and state = 'ACTIVE' and category <> $2 and id <> $1
      order by created_at desc, id desc limit $3)
) as candidates
order by distance, created_at desc, id desc limit $3
"""


class Trending(Struct, frozen=True):
    """An active market and its last 24 hours. Prices have nine decimals."""

    id: str
    question: str
    price_yes: int
    price_yes_before: int
    """The price 24 hours ago; one half if nobody had traded by then."""
    volume: int
    """Lamports: purchases with fees and sales before fees."""
    traders: int
    score: int
    """0.6 x the volume in SOL plus 0.4 x the traders, in ten-billionths."""
    stream_position: str
    """How far its stream had come in the same read, `epoch:seq`."""


class MarketDay(Struct, frozen=True):
    """A market's last 24 hours. Prices have nine decimals."""

    traders: int
    """All who have ever traded in it."""
    volume: int
    traders_24h: int
    price_yes: int
    price_yes_before: int

    @property
    def price_change(self) -> float:
        """How far the price of YES has moved, in SOL per share."""
        return price_change(self.price_yes_before, self.price_yes)


class CategoryTotals(Struct, frozen=True):
    """A category's markets, and the lamports traded in the last 24 hours and in the 24 hours before them."""

    name: str
    markets: int
    active: int
    volume: int
    volume_before: int


class Related(Struct, frozen=True):
    """An active market related to another one. The price has nine decimals."""

    id: str
    question: str
    category: str
    price_yes: int
    stream_position: str
    """How far its stream had come in the same read, `epoch:seq`."""


def price_change(before: int, after: int) -> float:
    """The difference between two prices in SOL per share, from -1 to 1."""
    return (after - before) / SCALE


async def newest_time(connection: Reads) -> datetime:
    """The time at which periods that end now end: the clock, or the newest trade if that is ahead of it."""
    now: datetime = await connection.fetchval(_NEWEST_TIME)
    return now


async def trending(connection: Reads, limit: int) -> tuple[Trending, ...]:
    """The active markets with the highest scores; those with equal scores by volume."""
    return tuple(_trending(row) for row in await connection.fetch(_TRENDING, limit))


async def categories(connection: Reads) -> tuple[CategoryTotals, ...]:
    """The categories that have markets, those with the most first."""
    return tuple(CategoryTotals(**dict(row)) for row in await connection.fetch(_CATEGORIES))


async def related(connection: Reads, market_id: str, category: str, limit: int) -> tuple[Related, ...]:
    """Other active markets: those of the same category first, then the newest."""
    rows = await connection.fetch(_RELATED, market_id, category, limit)
    return tuple(Related(**dict(row)) for row in rows)


def _trending(row: Record) -> Trending:
    return Trending(**dict(row))
