-- What readers ask of kept sums: the volumes of markets since a time, and the last day of all.

-- Whole hours are read from candles, the rest of the first hour from those of five minutes, and the rest from trades.
create function zmartd.all_traded_since(since timestamptz)
    returns table (market_id text, volume numeric, trades bigint)
    language sql stable parallel safe
    as $$
        select market_id, sum(volume), sum(trades) from (
            select market_id, volume, trades from public.candles
             where seconds = 3600
               and starts_at >= date_bin('1 hour', since, 'epoch') + interval '1 hour'
             union all
            select market_id, volume, trades from public.candles
             where seconds = 300
               and starts_at >= date_bin('5 minutes', since, 'epoch') + interval '5 minutes'
               and starts_at < date_bin('1 hour', since, 'epoch') + interval '1 hour'
             union all
            select market_id, case trade_type when 'buy' then cost else amount end, 1 from public.trades
             where block_time > since
               and block_time < date_bin('5 minutes', since, 'epoch') + interval '5 minutes'
        ) as parts group by market_id
    $$;
comment on function zmartd.all_traded_since(timestamptz) is
    'The lamports and the number of the trades after that time, of each market that has any.';

create function zmartd.volume_since(market text, since timestamptz) returns numeric
    language sql stable parallel safe
    as $$
        select coalesce(sum(volume), 0) from (
            select volume, trades from public.candles
             where market_id = market and seconds = 3600
               and starts_at >= date_bin('1 hour', since, 'epoch') + interval '1 hour'
             union all
            select volume, trades from public.candles
             where market_id = market and seconds = 300
               and starts_at >= date_bin('5 minutes', since, 'epoch') + interval '5 minutes'
               and starts_at < date_bin('1 hour', since, 'epoch') + interval '1 hour'
             union all
            select case trade_type when 'buy' then cost else amount end, 1 from public.trades
             where market_id = market and block_time > since
               and block_time < date_bin('5 minutes', since, 'epoch') + interval '5 minutes'
        ) as parts
    $$;
comment on function zmartd.volume_since(text, timestamptz) is 'The lamports of a market''s trades after that time.';

create or replace function zmartd.last_day() returns table (market_id text, volume numeric, traders bigint)
    language sql stable parallel safe
    as $$
        with day as materialized (select zmartd.newest_time() - interval '24 hours' as began)
        select traded.market_id, volume,
               (select count(distinct user_masked) from public.lots
                 where lots.market_id = traded.market_id and last_trade_at > began)
          from day cross join lateral zmartd.all_traded_since(began) as traded
    $$;

create function zmartd.traders_of(wanted text, as_of timestamptz) returns bigint
    language sql stable
    as $$
        with pending as (
            select user_wallet, sum(trades) as trades from zmartd.slid_results(as_of, array[wanted]) group by user_wallet
        )
        select coalesce((select traders from public.standing_periods where period = wanted), 0)
               + (select count(*) filter (where coalesce(kept.trades, 0) + pending.trades > 0)
                         - count(*) filter (where kept.trades > 0)
                    from pending left join public.standings as kept
                      on kept.period = wanted and kept.user_wallet = pending.user_wallet)
    $$;
comment on function zmartd.traders_of(text, timestamptz) is
    'How many wallets have trades in a period of the standings that ends then.';
