-- How a dispute was settled stays to be read: a tally in vote_tallies keeps the votes closed, and goes once the
-- market has its final outcome.

create table public.settled_disputes (
    market_id zmartd.market_id primary key references public.markets (id),
    yes bigint not null,
    no bigint not null,
    stake_yes numeric not null,
    stake_no numeric not null,
    electorate_wallets bigint not null,
    electorate_stake numeric not null,
    not_counted bigint not null,
    counted_at timestamptz not null
);
comment on table public.settled_disputes is 'The counted votes of disputes whose market is final, as vote_tallies had them.';

alter table public.settled_disputes enable row level security;
alter table public.settled_disputes force row level security;
revoke all on public.settled_disputes from public, anon, authenticated;
grant select, insert, update, delete on public.settled_disputes to service_role;
create policy service on public.settled_disputes to service_role using (true) with check (true);
grant select on public.settled_disputes to anon, authenticated;
create policy public_read on public.settled_disputes for select to anon, authenticated using (true);
