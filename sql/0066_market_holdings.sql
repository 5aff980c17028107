-- What the positions of each market come to together: kept with them, in the same transaction, so that nobody reads all
-- of them to count the holders, to share a refund out, or to see that somebody has yet to claim.

create table public.market_holdings (
    market_id zmartd.market_id primary key,
    -- Wallets with shares of the outcome, and their shares.
    holders_yes bigint not null,
    holders_no bigint not null,
    shares_yes numeric not null,
    shares_no numeric not null,
    -- Of these wallets, those that have not claimed.
    unclaimed_yes bigint not null,
    unclaimed_no bigint not null,
    -- Lamports that wallets paid in beyond what they took out, and how many of these wallets have not claimed.
    refundable numeric not null,
    unclaimed_refunds bigint not null
);
comment on table public.market_holdings is 'What the positions in a market come to together.';

alter table public.market_holdings enable row level security;
alter table public.market_holdings force row level security;
revoke all on public.market_holdings from public, anon, authenticated;
grant select, insert, update, delete on public.market_holdings to service_role;
create policy service on public.market_holdings to service_role using (true) with check (true);

create function zmartd.holdings_of_written() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    insert into market_holdings as kept
    select * from (
        select market_id, count(*) filter (where shares_yes > 0) as holders_yes,
               count(*) filter (where shares_no > 0) as holders_no,
               sum(greatest(shares_yes, 0)) as shares_yes,
               sum(greatest(shares_no, 0)) as shares_no,
               count(*) filter (where shares_yes > 0 and not has_claimed) as unclaimed_yes,
               count(*) filter (where shares_no > 0 and not has_claimed) as unclaimed_no,
               sum(greatest(total_invested - total_returned, 0)) as refundable,
               count(*) filter (where total_invested > total_returned and not has_claimed) as unclaimed_refunds
          from after
         group by market_id
    ) as added
     where (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
           <> (0, 0, 0, 0, 0, 0, 0, 0)
     order by market_id
    on conflict (market_id) do update
       set (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
         = (kept.holders_yes + excluded.holders_yes, kept.holders_no + excluded.holders_no,
            kept.shares_yes + excluded.shares_yes, kept.shares_no + excluded.shares_no,
            kept.unclaimed_yes + excluded.unclaimed_yes, kept.unclaimed_no + excluded.unclaimed_no,
            kept.refundable + excluded.refundable, kept.unclaimed_refunds + excluded.unclaimed_refunds);
    return null;
end $$;

create function zmartd.holdings_of_gone() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    insert into market_holdings as kept
    select * from (
        select market_id, coalesce(sum(weight) filter (where shares_yes > 0), 0) as holders_yes,
               coalesce(sum(weight) filter (where shares_no > 0), 0) as holders_no,
               sum(weight * greatest(shares_yes, 0)) as shares_yes,
               sum(weight * greatest(shares_no, 0)) as shares_no,
               coalesce(sum(weight) filter (where shares_yes > 0 and not has_claimed), 0) as unclaimed_yes,
               coalesce(sum(weight) filter (where shares_no > 0 and not has_claimed), 0) as unclaimed_no,
               sum(weight * greatest(total_invested - total_returned, 0)) as refundable,
               coalesce(sum(weight) filter (where total_invested > total_returned and not has_claimed), 0)
                   as unclaimed_refunds
          from (select -1 as weight, before.* from before) as those
         group by market_id
    ) as added
     where (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
           <> (0, 0, 0, 0, 0, 0, 0, 0)
     order by market_id
    on conflict (market_id) do update
       set (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
         = (kept.holders_yes + excluded.holders_yes, kept.holders_no + excluded.holders_no,
            kept.shares_yes + excluded.shares_yes, kept.shares_no + excluded.shares_no,
            kept.unclaimed_yes + excluded.unclaimed_yes, kept.unclaimed_no + excluded.unclaimed_no,
            kept.refundable + excluded.refundable, kept.unclaimed_refunds + excluded.unclaimed_refunds);
    return null;
end $$;

create function zmartd.holdings_of_changed() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    insert into market_holdings as kept
    select * from (
        select market_id, coalesce(sum(weight) filter (where shares_yes > 0), 0) as holders_yes,
               coalesce(sum(weight) filter (where shares_no > 0), 0) as holders_no,
               sum(weight * greatest(shares_yes, 0)) as shares_yes,
               sum(weight * greatest(shares_no, 0)) as shares_no,
               coalesce(sum(weight) filter (where shares_yes > 0 and not has_claimed), 0) as unclaimed_yes,
               coalesce(sum(weight) filter (where shares_no > 0 and not has_claimed), 0) as unclaimed_no,
               sum(weight * greatest(total_invested - total_returned, 0)) as refundable,
               coalesce(sum(weight) filter (where total_invested > total_returned and not has_claimed), 0)
                   as unclaimed_refunds
          from (select 1 as weight, after.* from after
                 union all
                select -1, before.* from before) as both_of_them
         group by market_id
    ) as added
     where (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
           <> (0, 0, 0, 0, 0, 0, 0, 0)
     order by market_id
    on conflict (market_id) do update
       set (holders_yes, holders_no, shares_yes, shares_no, unclaimed_yes, unclaimed_no, refundable, unclaimed_refunds)
         = (kept.holders_yes + excluded.holders_yes, kept.holders_no + excluded.holders_no,
            kept.shares_yes + excluded.shares_yes, kept.shares_no + excluded.shares_no,
            kept.unclaimed_yes + excluded.unclaimed_yes, kept.unclaimed_no + excluded.unclaimed_no,
            kept.refundable + excluded.refundable, kept.unclaimed_refunds + excluded.unclaimed_refunds);
    return null;
end $$;

create trigger add_holdings_of_written after insert on public.user_positions
    referencing new table as after for each statement execute function zmartd.holdings_of_written();
create trigger add_holdings_of_gone after delete on public.user_positions
    referencing old table as before for each statement execute function zmartd.holdings_of_gone();
create trigger add_holdings_of_changed after update on public.user_positions
    referencing old table as before new table as after for each statement execute function zmartd.holdings_of_changed();

create function zmartd.count_holdings(market text) returns void
    language plpgsql set search_path = public, pg_temp as $$
begin
    delete from market_holdings where market_id = market;
    insert into market_holdings as kept
    select * from (
        select market_id, count(*) filter (where shares_yes > 0) as holders_yes,
               count(*) filter (where shares_no > 0) as holders_no,
               sum(greatest(shares_yes, 0)) as shares_yes,
               sum(greatest(shares_no, 0)) as shares_no,
               count(*) filter (where shares_yes > 0 and not has_claimed) as unclaimed_yes,
               count(*) filter (where shares_no > 0 and not has_claimed) as unclaimed_no,
               sum(greatest(total_invested - total_returned, 0)) as refundable,
               count(*) filter (where total_invested > total_returned and not has_claimed) as unclaimed_refunds
          from user_positions where market_id = market
         group by market_id
    ) as added;
end $$;
comment on function zmartd.count_holdings(text) is
    'Counts what the positions in a market come to, whatever is kept of them.';

-- How far the positions from before are counted (0067 does it, and takes this away).
create table zmartd.holdings_filled (market_id text not null);
grant select, insert, update, delete on zmartd.holdings_filled to service_role;

create function zmartd.fill_holdings() returns boolean
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    next text;
begin
    select market_id into next from user_positions
     where market_id > coalesce((select market_id from zmartd.holdings_filled), '') order by market_id limit 1;
    if next is null then
        return false;
    end if;
    -- As who applies events to it does: no position changes meanwhile.
    perform from markets where id = next for update;
    perform zmartd.count_holdings(next);
    delete from zmartd.holdings_filled;
    insert into zmartd.holdings_filled values (next);
    return true;
end $$;
