-- A proposal whose counts are on the chain, and that only the admin's key can approve. Set by the task that counts
-- votes, and taken back by whatever moves the market to another state.
alter table public.markets add column awaiting_admin_approval boolean not null default false;

-- What an admin is asked about: few of all markets.
create index markets_awaiting_admin on public.markets (id)
    where awaiting_admin_approval or awaiting_decision or settles_at is not null;
