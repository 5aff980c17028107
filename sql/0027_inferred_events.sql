-- Every event that truncated logs lack can be inferred from what came before it. So it is known what a truncated
-- transaction changes, and what waits for it.

alter table public.truncated_transactions
    -- The addresses of the markets, or of the configuration, that it changes.
    add column changes text[] not null default '{}',
    -- Whether all of its events are recorded.
    add column complete boolean not null default false,
    add column attempts integer not null default 0;
set local role service_role;
update public.truncated_transactions set complete = true where resolved_at is not null;
reset role;

create index truncated_transactions_incomplete on public.truncated_transactions using gin (changes)
    where resolved_at is null and not complete;

-- What the accounts say of a market beyond its events, where a transaction cannot be read and no event can be
-- inferred. The market is its events up to `slot`, then what differed from the accounts of that slot, then its
-- later events.
create table public.market_corrections (
    market_id zmartd.market_id primary key references public.markets (id),
    slot bigint not null check (slot >= 0),
    differences jsonb not null,
    corrected_at timestamptz not null default now()
);

alter table public.market_corrections enable row level security;
alter table public.market_corrections force row level security;
revoke all on public.market_corrections from public, anon, authenticated;
grant select, insert, update, delete on public.market_corrections to service_role;
create policy service on public.market_corrections to service_role using (true) with check (true);
