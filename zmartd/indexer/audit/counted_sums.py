"""What is kept of trades and positions, and the same counted from them: statements of equal columns.

Each takes the market's id, but for those of standings, which are of all wallets, and of counts and
volumes of markets.
"""

from __future__ import annotations

from typing import Final

KEPT_CANDLES: Final = "select * from candles where market_id = $1"
KEPT_TRADE_RESULTS: Final = """
select kept.* from trade_results as kept join trades on trades.id = trade_id where market_id = $1
"""
KEPT_LOTS: Final = """
select user_wallet, market_id, outcome, shares, cost, last_slot, last_trade_at, newest_trade, profit, volume,
       trades
  from lots where market_id = $1
"""
KEPT_TRADERS: Final = "select * from market_traders where market_id = $1 and traders > 0"
COUNTED_TRADERS: Final = """
select $1::text, count(distinct user_wallet)::int from trades where market_id = $1 having count(*) > 0
"""
_HOLDINGS: Final = """
select market_id, holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable,
       unclaimed_refunds
  from {}
 where (holders_yes, holders_no, shares_yes, shares_no, refundable) <> (0, 0, 0, 0, 0)
"""
KEPT_HOLDINGS: Final = _HOLDINGS.format("market_holdings") + " and market_id = $1"
COUNTED_HOLDINGS: Final = _HOLDINGS.format(
    """
    (select market_id, count(*) filter (where shares_yes > 0) as holders_yes,
            count(*) filter (where shares_no > 0) as holders_no,
            sum(greatest(shares_yes, 0)) as shares_yes, sum(greatest(shares_no, 0)) as shares_no,
            count(*) filter (where shares_yes > 0 and not has_claimed) as unclaimed_yes,
            count(*) filter (where shares_no > 0 and not has_claimed) as unclaimed_no,
            sum(greatest(total_invested - total_returned, 0)) as refundable,
            count(*) filter (where total_invested > total_returned and not has_claimed) as unclaimed_refunds
       from user_positions where market_id = $1 group by market_id) as counted
    """
)
KEPT_MARKET_COUNTS: Final = """
select state, category, sum(markets) as markets
  from market_counts group by state, category having sum(markets) <> 0
"""
COUNTED_MARKET_COUNTS: Final = """
select state, category, count(*)::numeric as markets from markets where not orphaned group by state, category
"""
KEPT_MARKET_VOLUMES: Final = "select market_id, state, total_volume from market_volumes"
COUNTED_MARKET_VOLUMES: Final = "select id as market_id, state, total_volume from markets"
KEPT_POSITION_RESULTS: Final = "select * from position_results where market_id = $1"
_PLACE = "array[slot, coalesce(index_in_block, -1), id]"
_VOLUME = "case trade_type when 'buy' then cost else amount end"
_IN_ORDER = (
    "(partition by user_wallet, outcome order by slot, index_in_block nulls first, id "
    "rows between unbounded preceding and current row)"
)

COUNTED_CANDLES: Final = f"""
select market_id, seconds, date_bin(make_interval(secs => seconds), block_time, 'epoch') as starts_at,
       (array_agg(price_after order by {_PLACE}))[1] as open,
       max(price_after) as high, min(price_after) as low,
       (array_agg(price_after order by {_PLACE} desc))[1] as close,
       sum({_VOLUME})::numeric(30, 0) as volume,
       coalesce(sum(cost) filter (where trade_type = 'buy'), 0)::numeric(30, 0) as bought,
       count(*)::int as trades, min({_PLACE}) as first_place, max({_PLACE}) as last_place
  from trades, (values (300), (3600), (86400)) as period (seconds)
 where market_id = $1
 group by market_id, seconds, starts_at
"""  # noqa: S608 - constants
_GONE_THROUGH = f"""
with gone_through as materialized (
    select *, {_VOLUME} as volume, zmartd.lot(trade_type = 'buy', shares, cost) over {_IN_ORDER} as lot
      from trades where market_id = $1
), stepped as (
    select *, case trade_type when 'buy' then 0
                   else cost + lot[2] - coalesce((lag(lot) over in_order)[2], 0) end as profit,
           lead(id) over in_order is null as is_last
      from gone_through
    window in_order as (partition by user_wallet, outcome order by slot, index_in_block nulls first, id)
)
"""  # noqa: S608 - constants
COUNTED_TRADE_RESULTS: Final = f"""{_GONE_THROUGH}
select id as trade_id, block_time as at, profit, volume::numeric as volume, lot[1] as lot_shares,
       lot[2] as lot_cost
  from stepped
"""  # noqa: S608 - constants
COUNTED_LOTS: Final = f"""{_GONE_THROUGH}
select user_wallet, $1::text as market_id, outcome,
       (max(lot) filter (where is_last))[1] as shares, (max(lot) filter (where is_last))[2] as cost,
       max(slot) filter (where is_last) as last_slot, max(block_time) filter (where is_last) as last_trade_at,
       max(id) as newest_trade, sum(profit) as profit, sum(volume)::numeric as volume, count(*) as trades
  from stepped group by user_wallet, outcome
"""  # noqa: S608 - constants
COUNTED_POSITION_RESULTS: Final = """
select held.market_id, held.user_wallet, coalesce(held.claimed_at, market.finalized_at, '-infinity') as at,
       held.claimed_amount - coalesce(sum(zmartd.held_cost(
           array[coalesce(lot.shares, 0), lot.cost],
           case when lot.outcome then held.shares_yes else held.shares_no end)), 0) as profit
  from user_positions as held
  join markets as market on market.id = held.market_id
  left join lots as lot using (market_id, user_wallet)
 where held.market_id = $1
   and (held.has_claimed
        or market.state = 'FINALIZED'
           and case market.final_outcome
                   when true then held.shares_yes <= 0
                   when false then held.shares_no <= 0
                   else held.total_invested <= held.total_returned
               end)
 group by held.market_id, held.user_wallet, held.claimed_at, market.finalized_at, held.claimed_amount
"""
COUNTED_STANDINGS: Final = """
select period, user_wallet, sum(profit) as profit, sum(volume) as volume, sum(trades)::bigint as trades,
       count(*) as results
  from standing_periods as listed
  join (select user_wallet, result.at, result.profit, result.volume, 1 as trades
          from trade_results as result join trades on trades.id = result.trade_id
         union all
        select user_wallet, at, profit, 0, 0 from position_results) as results
    on results.at >= listed.since
 group by period, user_wallet
"""
KEPT_STANDINGS: Final = """
select period, user_wallet, sum(profit) as profit, sum(volume) as volume, sum(trades)::bigint as trades,
       sum(results)::bigint as results
  from (select * from standings
         union all
        select period, user_wallet, profit, volume, change.trades, change.results
          from standing_changes as change
          join standing_periods as listed on change.at >= listed.since) as kept
 group by period, user_wallet having sum(results) <> 0
"""
