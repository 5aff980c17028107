-- What the last 24 hours did to markets.

create function zmartd.price_at(market text, at timestamptz) returns numeric
    language sql stable parallel safe
    as $$
        select coalesce(
            (select price_after from public.trades where market_id = market and block_time <= at
              order by block_time desc, slot desc, index_in_block desc nulls last, id desc limit 1),
            0.5)
    $$;
comment on function zmartd.price_at(text, timestamptz) is 'The price of YES then: one half before the first trade.';

create function zmartd.last_day() returns table (market_id text, volume numeric, traders bigint)
    language sql stable parallel safe
    as $$
        select market_id, sum(case trade_type when 'buy' then cost else amount end), count(distinct user_masked)
          from public.trades where block_time > zmartd.newest_time() - interval '24 hours'
         group by market_id
    $$;
comment on function zmartd.last_day() is
    'Markets with trades in the last 24 hours. Wallets are counted as everybody may see them.';

create function zmartd.trending_score(volume numeric, traders bigint) returns numeric
    language sql immutable parallel safe
    return coalesce(volume, 0) * 6 + coalesce(traders, 0) * 4000000000;
comment on function zmartd.trending_score(numeric, bigint) is
    '0.6 x the SOL and 0.4 x the wallets of a day, in ten-billionths: an exact number, as places in lists need.';
