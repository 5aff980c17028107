-- What each trade did to its wallet's shares of that outcome (see 0012), the lots that trades left, what positions came to
-- in the end, and the standings of all wallets by period: kept with the trades, positions and markets that they are of,
-- in the same transaction. Whatever comes late, is changed or taken away, only the trades of that wallet in that market
-- from there on are gone through again. Their markets are those of the trades, which refer to them.

create table public.trade_results (
    trade_id bigint primary key,
    at timestamptz not null,
    -- Lamports: what a sale brought beyond what its shares had cost, and a purchase with fees or a sale before fees.
    profit numeric not null,
    volume numeric not null,
    -- The lot after the trade.
    lot_shares numeric not null,
    lot_cost numeric not null
);
comment on table public.trade_results is 'Of each trade: what it brought its wallet, and the lot that it left.';
create index trade_results_by_time on public.trade_results (at);

create table public.lots (
    user_wallet zmartd.address not null,
    market_id zmartd.market_id not null,
    outcome boolean not null,
    -- After the last trade in the order of the chain. The cost is in lamports, with fees.
    shares numeric not null,
    cost numeric not null,
    last_slot bigint not null,
    last_trade_at timestamptz not null,
    -- The one that was recorded last.
    newest_trade bigint not null,
    -- Sums over its trades.
    profit numeric not null,
    volume numeric not null,
    trades bigint not null check (trades > 0),
    user_masked text not null generated always as (zmartd.masked(user_wallet)) stored,
    primary key (user_wallet, market_id, outcome)
);
comment on table public.lots is 'The shares of one outcome that a wallet''s trades in a market left, and what they cost.';

create index lots_by_market_time on public.lots (market_id, last_trade_at);

create table public.market_traders (
    market_id zmartd.market_id primary key,
    traders integer not null check (traders >= 0)
);
comment on table public.market_traders is 'How many wallets have trades in a market.';

create table public.position_results (
    market_id zmartd.market_id not null,
    user_wallet zmartd.address not null,
    -- When it was claimed, or when its market became final.
    at timestamptz not null,
    profit numeric not null,
    primary key (market_id, user_wallet)
);
comment on table public.position_results is
    'Of each position that was claimed or became worthless: what that brought beyond what its shares had cost.';
create index position_results_by_time on public.position_results (at);

create table public.standing_periods (
    period text primary key check (period in ('24h', '7d', '30d', 'all')),
    -- The results that are in the standings are those from then on, but for those in standing_changes.
    since timestamptz not null,
    -- Wallets with trades in the standings.
    traders bigint not null default 0
);

create table public.standings (
    period text not null check (period in ('24h', '7d', '30d', 'all')),
    user_wallet zmartd.address not null,
    profit numeric not null,
    volume numeric not null,
    trades bigint not null,
    -- Of trades and of positions.
    results bigint not null,
    primary key (period, user_wallet)
);
comment on table public.standings is 'What the results of each wallet in a period come to.';
create index standings_by_profit on public.standings (period, profit desc, user_wallet);
create index standings_by_volume on public.standings (period, volume desc, user_wallet) where trades > 0;
create index standings_by_trades on public.standings (period, trades desc, user_wallet) where trades > 0;
create index standings_of_nothing on public.standings (period) where results = 0;

create table public.standing_changes (
    id bigint generated always as identity primary key,
    user_wallet zmartd.address not null,
    at timestamptz not null,
    profit numeric not null,
    volume numeric not null,
    trades integer not null,
    results integer not null
);
comment on table public.standing_changes is 'Results that came or went and are not in the standings yet.';

alter table public.trade_results enable row level security;
alter table public.trade_results force row level security;
revoke all on public.trade_results from public, anon, authenticated;
grant select, insert, update, delete on public.trade_results to service_role;
create policy service on public.trade_results to service_role using (true) with check (true);
alter table public.lots enable row level security;
alter table public.lots force row level security;
revoke all on public.lots from public, anon, authenticated;
grant select, insert, update, delete on public.lots to service_role;
create policy service on public.lots to service_role using (true) with check (true);
alter table public.market_traders enable row level security;
alter table public.market_traders force row level security;
revoke all on public.market_traders from public, anon, authenticated;
grant select, insert, update, delete on public.market_traders to service_role;
create policy service on public.market_traders to service_role using (true) with check (true);
alter table public.position_results enable row level security;
alter table public.position_results force row level security;
revoke all on public.position_results from public, anon, authenticated;
grant select, insert, update, delete on public.position_results to service_role;
create policy service on public.position_results to service_role using (true) with check (true);
alter table public.standing_periods enable row level security;
alter table public.standing_periods force row level security;
revoke all on public.standing_periods from public, anon, authenticated;
grant select, insert, update, delete on public.standing_periods to service_role;
create policy service on public.standing_periods to service_role using (true) with check (true);
alter table public.standings enable row level security;
alter table public.standings force row level security;
revoke all on public.standings from public, anon, authenticated;
grant select, insert, update, delete on public.standings to service_role;
create policy service on public.standings to service_role using (true) with check (true);
alter table public.standing_changes enable row level security;
alter table public.standing_changes force row level security;
revoke all on public.standing_changes from public, anon, authenticated;
grant select, insert, update, delete on public.standing_changes to service_role;
create policy service on public.standing_changes to service_role using (true) with check (true);
grant usage, select on sequence public.standing_changes_id_seq to service_role;

-- As public as the trades that they are counted from.
grant select (user_masked, market_id, outcome, shares, cost, last_slot, last_trade_at, newest_trade, profit, volume, trades)
    on public.lots to anon;
grant select on public.lots to authenticated;
grant select on public.market_traders to anon, authenticated;
create policy public_read on public.lots for select to anon, authenticated using (true);
create policy public_read on public.market_traders for select to anon, authenticated using (true);

create function zmartd.settle_positions(market_ids text[], wallets text[]) returns void
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    -- What each came to, null where it is not over, and what is kept of it.
    with compared as materialized (
        select asked.market_id, asked.user_wallet, kept.at as kept_at, kept.profit as kept_profit, result.*
          from (select distinct market_id, user_wallet
                  from unnest(market_ids, wallets) as given (market_id, user_wallet)) as asked
          left join position_results as kept using (market_id, user_wallet)
          left join lateral (
              select coalesce(held.claimed_at, market.finalized_at, '-infinity') as at,
                     held.claimed_amount
                     - zmartd.held_cost(array[coalesce(yes.shares, 0), yes.cost], held.shares_yes)
                     - zmartd.held_cost(array[coalesce(no.shares, 0), no.cost], held.shares_no) as profit
                from user_positions as held
                join markets as market on market.id = held.market_id
                left join lots as yes on yes.user_wallet = held.user_wallet and yes.market_id = held.market_id
                                     and yes.outcome
                left join lots as no on no.user_wallet = held.user_wallet and no.market_id = held.market_id
                                    and not no.outcome
               where held.market_id = asked.market_id and held.user_wallet = asked.user_wallet
                 and (held.has_claimed
                      or market.state = 'FINALIZED'
                         and case market.final_outcome
                                 when true then held.shares_yes <= 0
                                 when false then held.shares_no <= 0
                                 else held.total_invested <= held.total_returned
                             end)
          ) as result on true
    ), gone as (
        delete from position_results as kept using compared
         where kept.market_id = compared.market_id and kept.user_wallet = compared.user_wallet and compared.at is null
    ), written as (
        insert into position_results as kept
        select market_id, user_wallet, at, profit from compared
         where at is not null and (at, profit) is distinct from (kept_at, kept_profit)
         order by market_id, user_wallet
        on conflict (market_id, user_wallet) do update set at = excluded.at, profit = excluded.profit
    )
    insert into standing_changes (user_wallet, at, profit, volume, trades, results)
    select user_wallet, at, profit, 0, 0, 1
      from compared where at is not null and (at, profit) is distinct from (kept_at, kept_profit)
     union all
    select user_wallet, kept_at, -kept_profit, 0, 0, -1
      from compared where kept_at is not null and (at, profit) is distinct from (kept_at, kept_profit);
end $$;
comment on function zmartd.settle_positions(text[], text[]) is
    'Works out anew what these positions came to, if they are over.';

create type zmartd.traded as (user_wallet text, market_id text, outcome boolean, slot bigint, gone bigint);
comment on type zmartd.traded is 'Where a wallet''s trades in a market changed, and the id of one that is gone.';

-- Few trades change at a time, whatever the tables have come to: all of them are looked up.
create function zmartd.settle_trades(changed zmartd.traded[]) returns void
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off
    set enable_bitmapscan = off as $$
begin
    with chains as materialized (
        select user_wallet, market_id, outcome, min(slot) as from_slot, array_remove(array_agg(gone), null) as gone
          from unnest(changed) group by user_wallet, market_id, outcome
    ), begun as materialized (
        -- Where there is no lot, there is no earlier trade.
        select chains.*, coalesce(before.slot, -1) as slot, before.at, coalesce(before.shares, 0) as shares,
               coalesce(before.cost, 0) as cost, coalesce(kept.profit, 0) as kept_profit,
               coalesce(kept.volume, 0) as kept_volume, coalesce(kept.trades, 0) as kept_trades,
               case when kept.newest_trade = any(gone)
                    then (select max(id) from trades
                           where trades.user_wallet = chains.user_wallet and trades.market_id = chains.market_id
                             and trades.outcome = chains.outcome)
                    else kept.newest_trade end as newest_trade
          from chains
          left join lots as kept using (user_wallet, market_id, outcome)
          left join lateral (
              select kept.last_slot as slot, kept.last_trade_at as at, kept.shares, kept.cost
               where kept.last_slot < from_slot
               union all
              (select trades.slot, block_time, lot_shares, lot_cost
                 from trades join trade_results on trade_id = trades.id
                where kept.last_slot >= from_slot
                  and trades.user_wallet = chains.user_wallet and trades.market_id = chains.market_id
                  and trades.outcome = chains.outcome and trades.slot < from_slot
                order by trades.slot desc, coalesce(index_in_block, -1) desc, id desc limit 1)
          ) as before on true
    ), steps as (
        -- What was held before counts as a purchase.
        select user_wallet, market_id, outcome, null::bigint as id, slot, -1 as in_block, at, true as buys, shares, cost,
               0::numeric as volume, kept_profit, kept_volume, kept_trades, newest_trade
          from begun
         union all
        select chain.user_wallet, chain.market_id, chain.outcome, id, trades.slot, coalesce(index_in_block, -1),
               block_time, trade_type = 'buy', trades.shares, trades.cost,
               case trade_type when 'buy' then trades.cost else amount end, 0, 0, 0, null
          from begun as chain
          join trades on trades.user_wallet = chain.user_wallet and trades.market_id = chain.market_id
                     and trades.outcome = chain.outcome and trades.slot >= from_slot
    ), gone_through as (
        select *, zmartd.lot(buys, shares, cost) over in_order as lot,
               row_number() over (partition by user_wallet, market_id, outcome
                                  order by slot desc, in_block desc, id desc nulls last) = 1 as is_last
          from steps
        window in_order as (partition by user_wallet, market_id, outcome order by slot, in_block, id nulls first)
    ), stepped as (
        select *, case when buys then 0 else cost + lot[2] - (lag(lot) over in_order)[2] end as profit
          from gone_through
        window in_order as (partition by user_wallet, market_id, outcome order by slot, in_block, id nulls first)
    ), compared as materialized (
        -- Each trade with what is kept of it; those that are gone have no time.
        select user_wallet, market_id, outcome, id, slot, stepped.at, lot, stepped.profit, stepped.volume, is_last,
               kept_profit, kept_volume, kept_trades, newest_trade,
               was.at as at_before, was.profit as profit_before, was.volume as volume_before,
               was.lot_shares as shares_before, was.lot_cost as cost_before
          from stepped left join trade_results as was on trade_id = id
         union all
        select user_wallet, market_id, outcome, trade_id, null, null, null, null, null, false, 0, 0, 0, null,
               was.at, was.profit, was.volume, was.lot_shares, was.lot_cost
          from chains cross join unnest(gone) as gone_id
          join trade_results as was on trade_id = gone_id
         where not exists (select from trades where trades.id = gone_id)
    ), taken as (
        delete from trade_results as kept using compared where compared.at is null and kept.trade_id = compared.id
    ), written as (
        insert into trade_results as kept
        select id, at, profit, volume, lot[1], lot[2]
          from compared
         where id is not null and at is not null
           and (at, profit, volume, lot[1], lot[2])
               is distinct from (at_before, profit_before, volume_before, shares_before, cost_before)
         order by id
        on conflict (trade_id) do update
           set (at, profit, volume, lot_shares, lot_cost)
             = (excluded.at, excluded.profit, excluded.volume, excluded.lot_shares, excluded.lot_cost)
    ), told as (
        insert into standing_changes (user_wallet, at, profit, volume, trades, results)
        select user_wallet, at, profit, volume, 1, 1
          from compared
         where id is not null and at is not null
           and (at, profit, volume) is distinct from (at_before, profit_before, volume_before)
         union all
        select user_wallet, at_before, -profit_before, -volume_before, -1, -1
          from compared
         where at_before is not null
           and (at, profit, volume) is distinct from (at_before, profit_before, volume_before)
    ), summed as materialized (
        select user_wallet, market_id, outcome, array_agg(lot) filter (where is_last) as lot,
               max(slot) filter (where is_last) as slot, max(at) filter (where is_last) as at,
               greatest(max(newest_trade), max(id) filter (where at is not null)) as newest_trade,
               sum(kept_profit) + coalesce(sum(profit), 0) - coalesce(sum(profit_before), 0) as profit,
               sum(kept_volume) + coalesce(sum(volume), 0) - coalesce(sum(volume_before), 0) as volume,
               sum(kept_trades) + count(id) filter (where at is not null) - count(at_before) as trades
          from compared group by user_wallet, market_id, outcome
    ), ended as (
        delete from lots as kept using summed
         where kept.user_wallet = summed.user_wallet and kept.market_id = summed.market_id
           and kept.outcome = summed.outcome and summed.trades = 0
    )
    insert into lots as kept
    select user_wallet, market_id, outcome, lot[1][1], lot[1][2], slot, at, newest_trade, profit, volume, trades
      from summed where trades > 0 order by user_wallet, market_id, outcome
    on conflict (user_wallet, market_id, outcome) do update
       set (shares, cost, last_slot, last_trade_at, newest_trade, profit, volume, trades)
         = (excluded.shares, excluded.cost, excluded.last_slot, excluded.last_trade_at, excluded.newest_trade,
            excluded.profit, excluded.volume, excluded.trades);

    perform zmartd.settle_positions(array_agg(market_id::text), array_agg(user_wallet::text))
       from (select distinct market_id, user_wallet from unnest(changed)) as touched
       join position_results using (market_id, user_wallet)
     having count(*) > 0;
end $$;
comment on function zmartd.settle_trades(zmartd.traded[]) is
    'Goes through the trades of these wallets in these markets from those slots on, and keeps what they came to.';

create function zmartd.count_new_traders() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    insert into market_traders as kept
    select market_id, count(*)
      from (select market_id, user_wallet, count(*) as lots from added group by market_id, user_wallet) as begun
     where lots = (select count(*) from lots where lots.user_wallet = begun.user_wallet
                                               and lots.market_id = begun.market_id)
     group by market_id order by market_id
    on conflict (market_id) do update set traders = kept.traders + excluded.traders;
    return null;
end $$;
create trigger count_new_traders after insert on public.lots
    referencing new table as added for each statement execute function zmartd.count_new_traders();

create function zmartd.count_gone_traders() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    update market_traders as kept set traders = kept.traders - left_by.wallets
      from (select market_id, count(distinct user_wallet) as wallets from gone
             where not exists (select from lots where lots.user_wallet = gone.user_wallet
                                                  and lots.market_id = gone.market_id)
             group by market_id) as left_by
     where kept.market_id = left_by.market_id;
    return null;
end $$;
create trigger count_gone_traders after delete on public.lots
    referencing old table as gone for each statement execute function zmartd.count_gone_traders();

create function zmartd.results_of_written() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    perform zmartd.settle_trades(array_agg((user_wallet, market_id, outcome, slot, null)::zmartd.traded))
       from written having count(*) > 0;
    return null;
end $$;

create function zmartd.results_of_gone() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    perform zmartd.settle_trades(array_agg((user_wallet, market_id, outcome, slot, id)::zmartd.traded))
       from gone having count(*) > 0;
    return null;
end $$;

create function zmartd.results_of_changed() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    perform zmartd.settle_trades(array_agg((user_wallet, market_id, outcome, slot, gone)::zmartd.traded))
       from (select before.user_wallet, before.market_id, before.outcome, before.slot, before.id as gone
               from before left join after using (id)
              where (before.trade_type, before.shares, before.cost, before.amount, before.slot, before.index_in_block,
                     before.block_time)
                    is distinct from
                    (after.trade_type, after.shares, after.cost, after.amount, after.slot, after.index_in_block,
                     after.block_time)
             union all
             select after.user_wallet, after.market_id, after.outcome, after.slot, null
               from after left join before using (id)
              where (before.trade_type, before.shares, before.cost, before.amount, before.slot, before.index_in_block,
                     before.block_time)
                    is distinct from
                    (after.trade_type, after.shares, after.cost, after.amount, after.slot, after.index_in_block,
                     after.block_time)) as changed
     having count(*) > 0;
    return null;
end $$;

create trigger keep_results_of_written after insert on public.trades
    referencing new table as written for each statement execute function zmartd.results_of_written();
create trigger keep_results_of_gone after delete on public.trades
    referencing old table as gone for each statement execute function zmartd.results_of_gone();
create trigger keep_results_of_changed after update on public.trades
    referencing old table as before new table as after for each statement execute function zmartd.results_of_changed();

create function zmartd.a_trade_stays_whose_it_is() returns trigger language plpgsql as $$
begin
    raise exception 'the wallet, the market and the outcome of a trade do not change';
end $$;
create trigger stays_whose_it_is before update of user_wallet, market_id, outcome on public.trades for each row
    when (row(old.user_wallet, old.market_id, old.outcome)::text <> row(new.user_wallet, new.market_id, new.outcome)::text)
    execute function zmartd.a_trade_stays_whose_it_is();

create function zmartd.results_of_positions() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    perform zmartd.settle_positions(array_agg(changed.market_id::text), array_agg(changed.user_wallet::text))
       from changed join markets as market on market.id = changed.market_id
      where changed.has_claimed or market.state = 'FINALIZED'
         or exists (select from position_results as kept
                     where kept.market_id = changed.market_id and kept.user_wallet = changed.user_wallet)
     having count(*) > 0;
    return null;
end $$;
create trigger keep_results_of_written after insert on public.user_positions
    referencing new table as changed for each statement execute function zmartd.results_of_positions();
create trigger keep_results_of_changed after update on public.user_positions
    referencing new table as changed for each statement execute function zmartd.results_of_positions();
create trigger keep_results_of_gone after delete on public.user_positions
    referencing old table as changed for each statement execute function zmartd.results_of_positions();

create function zmartd.results_of_market() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    if (old.state = 'FINALIZED', old.final_outcome, old.finalized_at)
       is not distinct from (new.state = 'FINALIZED', new.final_outcome, new.finalized_at) then
        return null;
    end if;
    perform zmartd.settle_positions(array_agg(market_id::text), array_agg(user_wallet::text))
       from user_positions where market_id = new.id
     having count(*) > 0;
    return null;
end $$;
create trigger keep_results after update of state, final_outcome, finalized_at on public.markets for each row
    when (row(old.state, old.final_outcome, old.finalized_at)::text
          <> row(new.state, new.final_outcome, new.finalized_at)::text)
    execute function zmartd.results_of_market();

create function zmartd.slid_results(
    out period text, out since timestamptz, out user_wallet text, out profit numeric, out volume numeric,
    out trades integer, out results integer, as_of timestamptz, wanted text[] default '{24h,7d,30d,all}'
) returns setof record
    language sql stable set search_path = public, pg_temp as $$
    with edges as materialized (
        select asked.period, coalesce(kept.since, 'infinity') as before, asked.since as after
          from (values ('24h', as_of - interval '24 hours'), ('7d', as_of - interval '7 days'),
                       ('30d', as_of - interval '30 days'), ('all', '-infinity')) as asked (period, since)
          left join standing_periods as kept using (period)
         where asked.period = any(wanted)
    )
    select period, after, change.user_wallet, change.profit, change.volume, change.trades, change.results
      from edges join standing_changes as change on change.at >= edges.before
     union all
    select period, after, trade.user_wallet, sign * result.profit, sign * result.volume, sign, sign
      from edges cross join lateral (select case when after < before then 1 else -1 end as sign) as way
      join trade_results as result on result.at >= least(before, after) and result.at < greatest(before, after)
      join trades as trade on trade.id = result.trade_id
     union all
    select period, after, result.user_wallet, sign * result.profit, 0, 0, sign
      from edges cross join lateral (select case when after < before then 1 else -1 end as sign) as way
      join position_results as result on result.at >= least(before, after) and result.at < greatest(before, after)
$$;
comment on function zmartd.slid_results(timestamptz, text[]) is
    'What is to be added to the standings for them to be those of the periods that end then.';

create function zmartd.fold_standings(as_of timestamptz) returns void
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    insert into standing_periods select period, 'infinity' from unnest(array['24h', '7d', '30d', 'all']) as period
    on conflict do nothing;
    -- One at a time.
    perform from standing_periods for update;
    with added as materialized (
        select period, user_wallet, sum(profit) as profit, sum(volume) as volume, sum(trades) as trades,
               sum(results) as results
          from zmartd.slid_results(as_of) group by period, user_wallet
    ), taken as (
        delete from standing_changes
    ), written as (
        insert into standings as kept
        select * from added where (profit, volume, trades, results) <> (0, 0, 0, 0) order by period, user_wallet
        on conflict (period, user_wallet) do update
           set profit = kept.profit + excluded.profit, volume = kept.volume + excluded.volume,
               trades = kept.trades + excluded.trades, results = kept.results + excluded.results
        returning period, user_wallet, trades
    ), counted as (
        select period, sum(sign(written.trades) - sign(written.trades - added.trades)) as traders
          from written join added using (period, user_wallet) group by period
    )
    update standing_periods as kept
       set since = asked.since, traders = kept.traders + coalesce(counted.traders, 0)
      from (values ('24h', as_of - interval '24 hours'), ('7d', as_of - interval '7 days'),
                   ('30d', as_of - interval '30 days'), ('all', '-infinity')) as asked (period, since)
      left join counted using (period)
     where kept.period = asked.period;
    delete from standings where results = 0;
end $$;
comment on function zmartd.fold_standings(timestamptz) is 'Makes the standings those of the periods that end then.';

create function zmartd.count_results(market text, wallets text[]) returns void
    language plpgsql set search_path = public, pg_temp
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    with gone as (
        delete from trade_results as kept using trades
         where trades.market_id = market and trades.user_wallet = any(wallets) and kept.trade_id = trades.id
        returning trades.user_wallet, kept.at, kept.profit, kept.volume
    )
    insert into standing_changes (user_wallet, at, profit, volume, trades, results)
    select user_wallet, at, -profit, -volume, -1, -1 from gone;
    delete from lots where market_id = market and user_wallet = any(wallets);
    with gone_through as materialized (
        select id, user_wallet, outcome, slot, index_in_block, block_time, trade_type, cost,
               case trade_type when 'buy' then cost else amount end as volume,
               zmartd.lot(trade_type = 'buy', shares, cost) over (
                   partition by user_wallet, outcome order by slot, index_in_block nulls first, id
                   rows between unbounded preceding and current row) as lot
          from trades where market_id = market and user_wallet = any(wallets)
    ), stepped as materialized (
        select *, case trade_type when 'buy' then 0
                       else cost + lot[2] - coalesce((lag(lot) over in_order)[2], 0) end as profit,
               lead(id) over in_order is null as is_last
          from gone_through
        window in_order as (partition by user_wallet, outcome order by slot, index_in_block nulls first, id)
    ), written as (
        insert into trade_results (trade_id, at, profit, volume, lot_shares, lot_cost)
        select id, block_time, profit, volume, lot[1], lot[2] from stepped order by id
    ), told as (
        insert into standing_changes (user_wallet, at, profit, volume, trades, results)
        select user_wallet, block_time, profit, volume, 1, 1 from stepped
    )
    insert into lots (user_wallet, market_id, outcome, shares, cost, last_slot, last_trade_at, newest_trade, profit,
                      volume, trades)
    select user_wallet, market, outcome, (max(lot) filter (where is_last))[1], (max(lot) filter (where is_last))[2],
           max(slot) filter (where is_last), max(block_time) filter (where is_last), max(id), sum(profit), sum(volume),
           count(*)
      from stepped group by user_wallet, outcome;
    perform zmartd.settle_positions(array_fill(market, array[cardinality(wallets)]), wallets);
end $$;
comment on function zmartd.count_results(text, text[]) is
    'Counts what the trades and positions of these wallets in a market came to, whatever is kept of them.';

-- How far the positions from before are gone through (0063 does it, and takes this away).
create table zmartd.results_filled (market_id text not null, user_wallet text not null);
grant select, insert, update, delete on zmartd.results_filled to service_role;

create function zmartd.fill_results(most integer) returns boolean
    language plpgsql set search_path = public, pg_temp as $$
declare
    -- The market, and the wallets whose positions are next.
    next record;
begin
    select held.market_id::text, array_agg(held.user_wallet::text order by held.user_wallet) as wallets into next
      from (select market_id, user_wallet,
                   sum(trades_count) over (order by market_id, user_wallet) - trades_count as before
              from (select market_id, user_wallet, trades_count from user_positions
                     where (market_id, user_wallet) > (coalesce((select market_id from zmartd.results_filled), ''),
                                                       coalesce((select user_wallet from zmartd.results_filled), ''))
                     order by market_id, user_wallet limit 5000) as ahead) as held
     where held.before < most
     group by held.market_id order by held.market_id limit 1;
    if not found then
        perform zmartd.fold_standings(now()) where exists (select from standing_changes);
        return false;
    end if;
    -- As who applies events to it does: no trade comes meanwhile.
    perform from markets where id = next.market_id for update;
    perform zmartd.count_results(next.market_id, next.wallets);
    if (select max(id) - min(id) > most from standing_changes) then
        perform zmartd.fold_standings(now());
    end if;
    delete from zmartd.results_filled;
    insert into zmartd.results_filled values (next.market_id, next.wallets[cardinality(next.wallets)]);
    return true;
end $$;
