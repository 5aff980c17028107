-- The pulse shows that what the indexer writes can be committed, to whoever waits for it. One daemon at a time
-- raises it, and every daemon reads it together with what has changed in streams.

create table public.pulses (
    id smallint primary key default 1,
    number bigint not null check (number > 0),
    committed_at timestamptz not null,
    -- The slot up to which the index lacks no transaction of the program, that slot's time by the chain's
    -- clock in unix seconds, and when it last changed.
    slot bigint not null,
    chain_time bigint not null,
    raised_at timestamptz not null,
    -- The newest slot that a node told, and since when none has told another one.
    newest_slot bigint not null,
    newest_at timestamptz not null
) with (fillfactor = 10);
comment on table public.pulses is 'One row: that commits work, and how far the index has come with the chain.';

alter table public.pulses enable row level security;
alter table public.pulses force row level security;
revoke all on public.pulses from public, anon, authenticated;
grant select, insert, update, delete on public.pulses to service_role;
create policy service on public.pulses to service_role using (true) with check (true);
