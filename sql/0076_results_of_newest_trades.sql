-- Most trades are the newest of their wallet's shares: what they leave follows from the lot before, and nothing is gone
-- through again.

create or replace function zmartd.results_of_written() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    -- Those that are not.
    others zmartd.traded[];
begin
    with placed as materialized (
        select trade.id, trade.user_wallet, trade.market_id, trade.outcome, trade.slot, trade.block_time as at,
               trade.trade_type = 'buy' as buys, trade.shares, trade.cost,
               case trade.trade_type when 'buy' then trade.cost else trade.amount end as volume,
               coalesce(kept.shares, 0) as shares_before, coalesce(kept.cost, 0) as cost_before,
               coalesce(kept.last_slot, -1) < trade.slot
               and count(*) over (partition by trade.user_wallet, trade.market_id, trade.outcome) = 1
               and not exists (select from trade_results as was where was.trade_id = trade.id)
               and not exists (select from position_results as over
                                where over.market_id = trade.market_id and over.user_wallet = trade.user_wallet)
                   as is_newest
          from written as trade
          left join lots as kept on kept.user_wallet = trade.user_wallet and kept.market_id = trade.market_id
                                and kept.outcome = trade.outcome
    ), newest as materialized (
        select *, case when buys then 0 else cost + lot[2] - cost_before end as profit
          from (select *, zmartd.lot_after(array[shares_before, cost_before], buys, shares, cost) as lot
                  from placed where is_newest) as stepped
    ), results as (
        insert into trade_results (trade_id, at, profit, volume, lot_shares, lot_cost)
        select id, at, profit, volume, lot[1], lot[2] from newest order by id
    ), told as (
        insert into standing_changes (user_wallet, at, profit, volume, trades, results)
        select user_wallet, at, profit, volume, 1, 1 from newest
    ), lots_kept as (
        insert into lots as kept
        select user_wallet, market_id, outcome, lot[1], lot[2], slot, at, id, profit, volume, 1
          from newest order by user_wallet, market_id, outcome
        on conflict (user_wallet, market_id, outcome) do update
           set (shares, cost, last_slot, last_trade_at, newest_trade, profit, volume, trades)
             = (excluded.shares, excluded.cost, excluded.last_slot, excluded.last_trade_at,
                greatest(kept.newest_trade, excluded.newest_trade), kept.profit + excluded.profit,
                kept.volume + excluded.volume, kept.trades + 1)
    )
    select array_agg((user_wallet, market_id, outcome, slot, null)::zmartd.traded) into others
      from placed where not is_newest;
    if others is not null then
        perform zmartd.settle_trades(others);
    end if;
    return null;
end $$;

create or replace function zmartd.count_new_traders() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    -- It is called for lots that had been there, too.
    if not exists (select from added) then
        return null;
    end if;
    insert into market_traders as kept
    select market_id, count(*)
      from (select market_id, user_wallet, count(*) as lots from added group by market_id, user_wallet) as begun
     where lots = (select count(*) from lots where lots.user_wallet = begun.user_wallet
                                               and lots.market_id = begun.market_id)
     group by market_id order by market_id
    on conflict (market_id) do update set traders = kept.traders + excluded.traders;
    return null;
end $$;
