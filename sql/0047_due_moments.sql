-- A market that is due prompts a run of a task at once, beside the task's schedule.

alter table public.task_schedules
    -- Since when a run is wanted beside the schedule, and why. The next run that begins answers it.
    add column prompted_at timestamptz,
    add column prompted_because text,
    add check ((prompted_at is null) = (prompted_because is null));

-- NULL: the row is of instants of the schedule, or of a run by hand.
alter table public.task_runs add column prompted_because text;

-- The moments at which markets were due that have prompted a run. A market that is still due prompts another
-- one after a while, and at once when it is due at another time.
create table public.prompted_moments (
    market_id zmartd.market_id not null,
    task text not null,
    kind text not null,
    -- By the chain's clock.
    due_at timestamptz not null,
    prompts integer not null default 1 check (prompts >= 1),
    -- By Postgres's clock.
    again_at timestamptz not null,
    primary key (market_id, task, kind)
);
comment on table public.prompted_moments is 'Due moments of markets that have prompted a run of a task, and how often.';
-- No time of the chain brings these, so that they are looked for by when they may prompt another run.
create index prompted_moments_of_counts on public.prompted_moments (again_at)
    where kind in ('approval', 'petition');
create index dispute_requests_newest on public.dispute_requests (requested_at);
create index market_finalization_errors_next on public.market_finalization_errors (next_attempt_at)
    where resolved_at is null;

alter table public.prompted_moments enable row level security;
alter table public.prompted_moments force row level security;
revoke all on public.prompted_moments from public, anon, authenticated;
grant select, insert, update, delete on public.prompted_moments to service_role;
create policy service on public.prompted_moments to service_role using (true) with check (true);
