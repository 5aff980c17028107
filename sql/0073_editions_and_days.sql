-- An edition of the leaderboard has twelve thousand rows, and to check the reference of each took most of its time. They
-- go with their edition as before.
create function zmartd.ranks_of_gone_editions() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    delete from leaderboard using gone where leaderboard.edition = gone.id;
    return null;
end $$;
-- This lock is what Postgres takes on it below, said for `zmartd migrate --plan`.
lock table public.leaderboard_editions in access exclusive mode;
alter table public.leaderboard drop constraint leaderboard_edition_fkey;
create trigger ranks_go_with_it after delete on public.leaderboard_editions
    referencing old table as gone for each statement execute function zmartd.ranks_of_gone_editions();

-- As in 0065, planned for the time that is asked for: for an unknown one, Postgres looked into the candles of each market
-- instead of those of the time.
create or replace function zmartd.all_traded_since(since timestamptz)
    returns table (market_id text, volume numeric, trades bigint)
    language plpgsql stable parallel safe set plan_cache_mode = force_custom_plan
    as $$
#variable_conflict use_column
begin
    return query
    select market_id::text, sum(volume), sum(trades)::bigint from (
        select market_id, volume, trades::bigint from public.candles
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
    ) as parts group by market_id;
end $$;
