-- What the auditor found when it last compared a market, or the program's configuration, with its accounts.

create table public.market_audits (
    -- The market's address; for the configuration its own.
    address zmartd.address primary key,
    -- The market's version in the index at that time; NULL: the index did not have it.
    version bigint,
    -- The accounts were read at this slot or later.
    slot bigint not null check (slot >= 0),
    accounts integer not null check (accounts >= 0),
    -- How many values differ, the first of them, and since when any does.
    differences integer not null check (differences >= 0),
    differing text[] not null,
    differs_since timestamptz,
    -- Since when the market changed during each comparison.
    moving_since timestamptz,
    -- Why it could not be compared.
    failure text,
    audited_at timestamptz not null default clock_timestamp(),
    check ((differences > 0) = (differs_since is not null))
) with (fillfactor = 50);
create index market_audits_differing on public.market_audits (differs_since, address) where differences > 0;
comment on table public.market_audits is 'What each market was like when it was last compared with the chain.';

create table public.audit_passes (
    id smallint primary key default 1,
    slot bigint not null,
    markets integer not null,
    accounts bigint not null,
    differences bigint not null,
    differing_markets integer not null,
    moving_markets integer not null,
    failed_markets integer not null,
    -- When the market was compared that has waited longest; NULL where one never was.
    oldest_at timestamptz,
    finished_at timestamptz not null
) with (fillfactor = 50);
comment on table public.audit_passes is 'One row: the whole index as the newest pass of the auditor left it.';

do $$
declare
    relation text;
begin
    foreach relation in array array['market_audits', 'audit_passes'] loop
        execute format('alter table public.%I enable row level security', relation);
        execute format('alter table public.%I force row level security', relation);
        execute format('revoke all on public.%I from public, anon, authenticated', relation);
        execute format('grant select, insert, update, delete on public.%I to service_role', relation);
        execute format('create policy service on public.%I to service_role using (true) with check (true)',
                       relation);
    end loop;
end
$$;
