-- Candles: the prices and the volume of each market by five minutes, hour and day, kept with its trades. A trade that is
-- written adds to its candles; where one is changed or taken away, they are counted anew, all in the same transaction.
-- Shorter and other periods are read from what is kept.

create table public.candles (
    market_id zmartd.market_id not null,
    seconds integer not null check (seconds in (300, 3600, 86400)),
    starts_at timestamptz not null,
    -- After the first and the last trade in the order of the chain, and the highest and lowest after one.
    open zmartd.price not null,
    high zmartd.price not null,
    low zmartd.price not null,
    close zmartd.price not null,
    -- Lamports: purchases with fees and sales before fees.
    volume numeric(30, 0) not null check (volume >= 0),
    -- Of these, purchases.
    bought numeric(30, 0) not null check (bought >= 0),
    trades integer not null check (trades > 0),
    -- Where the first and the last trade are in the chain: {slot, index in the block or -1, id}.
    first_place bigint[] not null,
    last_place bigint[] not null,
    primary key (market_id, seconds, starts_at)
);
comment on table public.candles is 'Prices and volume of markets by period, of the periods in which there were trades.';
create index candles_of_hours on public.candles (starts_at) where seconds = 3600;
create index candles_of_minutes on public.candles (starts_at) where seconds = 300;

alter table public.candles enable row level security;
alter table public.candles force row level security;
revoke all on public.candles from public, anon, authenticated;
grant select, insert, update, delete on public.candles to service_role;
create policy service on public.candles to service_role using (true) with check (true);
grant select on public.candles to anon, authenticated;
create policy public_read on public.candles for select to anon, authenticated using (true);

-- Few periods change at a time, whatever the tables have come to: all of them are looked up.
create function zmartd.count_candles(market_ids text[], times timestamptz[]) returns void
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    step record;
begin
    with touched as materialized (
        select distinct given.market_id, date_bin('5 minutes', given.at, 'epoch') as starts_at
          from unnest(market_ids, times) as given (market_id, at)
    ), placed as materialized (
        select touched.market_id, touched.starts_at, price_after,
               case trade_type when 'buy' then cost else amount end as volume,
               case trade_type when 'buy' then cost else 0 end as bought,
               case when id is not null then array[slot, coalesce(index_in_block, -1), id] end as place
          from touched
          left join trades on trades.market_id = touched.market_id and block_time >= touched.starts_at
                          and block_time < touched.starts_at + interval '5 minutes'
    ), counted as materialized (
        select market_id, starts_at,
               (array_agg(price_after order by place))[1] as open, max(price_after) as high, min(price_after) as low,
               (array_agg(price_after order by place desc))[1] as close,
               sum(volume) as volume, sum(bought) as bought, count(place) as trades, min(place) as first_place,
               max(place) as last_place
          from placed group by market_id, starts_at
    ), gone as (
        delete from candles as kept using counted
         where kept.market_id = counted.market_id and kept.seconds = 300 and kept.starts_at = counted.starts_at
           and counted.trades = 0
    )
    insert into candles as kept
    select market_id, 300, starts_at, open, high, low, close, volume, bought, trades, first_place, last_place
      from counted where trades > 0 order by market_id, starts_at
    on conflict (market_id, seconds, starts_at) do update
       set (open, high, low, close, volume, bought, trades, first_place, last_place)
         = (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.bought,
            excluded.trades, excluded.first_place, excluded.last_place)
     where kept is distinct from excluded;
    for step in select * from (values (3600, 300), (86400, 3600)) as steps (seconds, part) loop
        with touched as materialized (
            select distinct given.market_id,
                   date_bin(make_interval(secs => step.seconds), given.at, 'epoch') as starts_at
              from unnest(market_ids, times) as given (market_id, at)
        ), counted as materialized (
            select touched.market_id, touched.starts_at,
                   (array_agg(part.open order by part.first_place))[1] as open,
                   max(part.high) as high, min(part.low) as low,
                   (array_agg(part.close order by part.last_place desc))[1] as close,
                   sum(part.volume) as volume, sum(part.bought) as bought, coalesce(sum(part.trades), 0) as trades,
                   min(part.first_place) as first_place, max(part.last_place) as last_place
              from touched
              left join candles as part on part.market_id = touched.market_id and part.seconds = step.part
                         and part.starts_at >= touched.starts_at
                         and part.starts_at < touched.starts_at + make_interval(secs => step.seconds)
             group by touched.market_id, touched.starts_at
        ), gone as (
            delete from candles as kept using counted
             where kept.market_id = counted.market_id and kept.seconds = step.seconds
               and kept.starts_at = counted.starts_at and counted.trades = 0
        )
        insert into candles as kept
        select market_id, step.seconds, starts_at, open, high, low, close, volume, bought, trades, first_place, last_place
          from counted where trades > 0 order by market_id, starts_at
        on conflict (market_id, seconds, starts_at) do update
           set (open, high, low, close, volume, bought, trades, first_place, last_place)
             = (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.bought,
            excluded.trades,
                excluded.first_place, excluded.last_place)
         where kept is distinct from excluded;
    end loop;
end $$;
comment on function zmartd.count_candles(text[], timestamptz[]) is
    'Counts the candles of these markets anew that these times are in.';

create function zmartd.trades_written() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    with placed as materialized (
        select market_id, block_time, price_after, case trade_type when 'buy' then cost else amount end as volume,
               case trade_type when 'buy' then cost else 0 end as bought,
               array[slot, coalesce(index_in_block, -1), id] as place
          from written
    )
    insert into candles as kept
    select market_id, seconds, date_bin(make_interval(secs => seconds), block_time, 'epoch') as starts_at,
           (array_agg(price_after order by place))[1], max(price_after), min(price_after),
           (array_agg(price_after order by place desc))[1], sum(volume), sum(bought), count(*), min(place), max(place)
      from placed, (values (300), (3600), (86400)) as period (seconds)
     group by market_id, seconds, starts_at order by market_id, seconds, starts_at
    on conflict (market_id, seconds, starts_at) do update
       set open = case when excluded.first_place < kept.first_place then excluded.open else kept.open end,
           high = greatest(kept.high, excluded.high), low = least(kept.low, excluded.low),
           close = case when excluded.last_place > kept.last_place then excluded.close else kept.close end,
           volume = kept.volume + excluded.volume, bought = kept.bought + excluded.bought,
           trades = kept.trades + excluded.trades,
           first_place = least(kept.first_place, excluded.first_place),
           last_place = greatest(kept.last_place, excluded.last_place);
    return null;
end $$;

create function zmartd.trades_deleted() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    perform zmartd.count_candles(array_agg(market_id), array_agg(at))
       from (select distinct market_id, date_bin('5 minutes', block_time, 'epoch') as at from gone) as periods
     having count(*) > 0;
    return null;
end $$;

create function zmartd.trades_changed() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    -- A commitment that changes changes no candle.
    perform zmartd.count_candles(array_agg(market_id), array_agg(at))
       from (select distinct market_id, date_bin('5 minutes', block_time, 'epoch') as at
               from (select before.market_id, before.block_time
                       from before left join after using (id, market_id, block_time)
                      where (before.price_after, before.trade_type, before.cost, before.amount, before.slot,
                             before.index_in_block)
                            is distinct from
                            (after.price_after, after.trade_type, after.cost, after.amount, after.slot,
                             after.index_in_block)
                     union all
                     select after.market_id, after.block_time
                       from after left join before using (id, market_id, block_time)
                      where before.slot is null) as changed) as periods
     having count(*) > 0;
    return null;
end $$;

create trigger keep_candles_of_written after insert on public.trades
    referencing new table as written for each statement execute function zmartd.trades_written();
create trigger keep_candles_of_gone after delete on public.trades
    referencing old table as gone for each statement execute function zmartd.trades_deleted();
create trigger keep_candles_of_changed after update on public.trades
    referencing old table as before new table as after for each statement execute function zmartd.trades_changed();

create function zmartd.count_all_candles(market text, since timestamptz, until timestamptz) returns void
    language plpgsql set search_path = public, pg_temp as $$
begin
    delete from candles where market_id = market and starts_at >= since and starts_at < until;
    with placed as materialized (
        select block_time, price_after, case trade_type when 'buy' then cost else amount end as volume,
               case trade_type when 'buy' then cost else 0 end as bought,
               array[slot, coalesce(index_in_block, -1), id] as place
          from trades where market_id = market and block_time >= since and block_time < until
    )
    insert into candles (market_id, seconds, starts_at, open, high, low, close, volume, bought, trades, first_place,
                         last_place)
    select market, seconds, date_bin(make_interval(secs => seconds), block_time, 'epoch') as starts_at,
           (array_agg(price_after order by place))[1], max(price_after), min(price_after),
           (array_agg(price_after order by place desc))[1], sum(volume), sum(bought), count(*), min(place), max(place)
      from placed, (values (300), (3600), (86400)) as period (seconds)
     group by seconds, starts_at;
end $$;
comment on function zmartd.count_all_candles(text, timestamptz, timestamptz) is
    'Counts all candles of a market between two beginnings of days.';

-- How far the trades from before are counted (0061 fills it, and takes it away).
create table zmartd.candles_filled (
    market_id text primary key,
    until timestamptz not null
);
grant select, insert, update, delete on zmartd.candles_filled to service_role;

create function zmartd.fill_candles(most integer) returns boolean
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    -- The market, and up to which time its trades are counted.
    here record;
    until timestamptz;
begin
    select market_id, candles_filled.until as at into here from zmartd.candles_filled order by market_id desc limit 1;
    if here is null or not exists (select from trades where market_id = here.market_id and block_time >= here.at) then
        select market_id::text, '-infinity'::timestamptz as at into here
          from trades where market_id > coalesce(here.market_id, '') order by market_id limit 1;
        if not found then
            return false;
        end if;
    end if;
    -- As who applies events to it does: no trade comes meanwhile.
    perform from markets where id = here.market_id for update;
    -- Up to the end of a day.
    select coalesce((select date_bin('1 day', block_time, 'epoch') + interval '1 day'
                       from trades where market_id = here.market_id and block_time >= here.at
                      order by block_time offset most limit 1), 'infinity') into until;
    perform zmartd.count_all_candles(here.market_id, here.at, until);
    insert into zmartd.candles_filled as filled values (here.market_id, until)
    on conflict (market_id) do update set until = excluded.until;
    return true;
end $$;
