-- Which markets the auditor has not compared with their accounts, since when, and from which slot on the index may
-- lack something of a market.

alter table public.market_audits
    -- Since when each attempt failed; `failure` says why the last one did, and is null where this is.
    add column failing_since timestamptz,
    -- When a comparison last proved something, and when the market was first known here.
    add column compared_at timestamptz,
    add column entered_at timestamptz not null default clock_timestamp(),
    -- The slot of the last comparison that found everything equal.
    add column equal_slot bigint check (equal_slot >= 0);

update public.market_audits
   set failing_since = case when failure is not null then audited_at end,
       compared_at = case when failure is null and moving_since is null and audited_at > '-infinity'
                          then audited_at end;

create index market_audits_failing on public.market_audits (failing_since) where failing_since is not null;
create index market_audits_moving on public.market_audits (moving_since) where moving_since is not null;
create index market_audits_waiting on public.market_audits ((coalesce(compared_at, entered_at)));
