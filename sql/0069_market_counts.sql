-- How many markets there are of each state and category: kept with them, in the same transaction.

-- Mostly one row of each. Transactions that change markets of the same kind at once do not wait for each other: each adds
-- a row of its own, and a later one puts them together. Their sum is the number of markets.
create table public.market_counts (
    id bigint generated always as identity primary key,
    state zmartd.market_state not null,
    category zmartd.category not null,
    markets bigint not null
);
comment on table public.market_counts is 'Rows of which the sums by state and category are how many markets are listed.';

alter table public.market_counts enable row level security;
alter table public.market_counts force row level security;
revoke all on public.market_counts from public, anon, authenticated;
grant select, insert, update, delete on public.market_counts to service_role;
grant usage, select on sequence public.market_counts_id_seq to service_role;
grant select on public.market_counts to anon, authenticated;
create policy service on public.market_counts to service_role using (true) with check (true);
create policy public_read on public.market_counts for select to anon, authenticated using (true);

create function zmartd.add_to_market_counts(of_state text, of_category text, added bigint) returns void
    language sql set search_path = public, pg_temp as $$
    with taken as (
        delete from market_counts
         where id in (select id from market_counts where state = of_state and category = of_category
                         for update skip locked)
        returning markets
    )
    insert into market_counts (state, category, markets)
    select of_state, of_category, coalesce(sum(markets), 0) + added from taken
    having coalesce(sum(markets), 0) + added <> 0
$$;
comment on function zmartd.add_to_market_counts(text, text, bigint) is
    'Adds to the number of markets of a state and a category.';

create function zmartd.count_market() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    if tg_op <> 'INSERT' and not old.orphaned then
        perform zmartd.add_to_market_counts(old.state, old.category, -1);
    end if;
    if tg_op <> 'DELETE' and not new.orphaned then
        perform zmartd.add_to_market_counts(new.state, new.category, 1);
    end if;
    return null;
end $$;

create trigger count_written after insert on public.markets for each row execute function zmartd.count_market();
create trigger count_gone after delete on public.markets for each row execute function zmartd.count_market();
create trigger count_changed after update of state, category, orphaned on public.markets for each row
    when (row(old.state, old.category, old.orphaned)::text <> row(new.state, new.category, new.orphaned)::text)
    execute function zmartd.count_market();

-- The triggers' lock keeps markets as they are until this is committed.
set local role service_role;
insert into public.market_counts (state, category, markets)
select state, category, count(*) from public.markets where not orphaned group by state, category;
reset role;
