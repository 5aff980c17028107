-- The ledger of periodic tasks: every instant at which a task is due is in exactly one row, whichever daemons
-- there are, and whatever becomes of them.

-- Grows with every attempt of every run: who holds an older one holds nothing any more.
create sequence public.task_fencing_tokens as bigint;
grant usage, update on sequence public.task_fencing_tokens to service_role;

create table public.task_schedules (
    task text primary key check (char_length(task) between 1 and 100),
    -- As zmartd.schedule.read_timing reads it.
    schedule text not null,
    -- The first instant that is in no row yet. Who moves it from what it was has the instants in between.
    next_due_at timestamptz not null,
    -- Instants up to then are skipped; infinity: until somebody resumes the task.
    paused_until timestamptz,
    paused_because text,
    paused_by text,
    check ((paused_until is null) = (paused_because is null)),
    check ((paused_until is null) = (paused_by is null))
) with (fillfactor = 20);
comment on table public.task_schedules is 'When each periodic task is due next, and whether it is paused.';

-- The rows that were there are of runs that did something or failed, at no instant.
alter table public.task_runs
    add column status text not null default 'ran'
        check (status in ('running', 'ran', 'skipped', 'caught_up')),
    -- The first and the last instant that the row covers, and how many; none for a run by hand.
    add column due_at timestamptz,
    add column last_due_at timestamptz,
    add column instants integer not null default 0 check (instants >= 0),
    add column reason text check (reason in ('overlap', 'paused', 'late', 'disabled')),
    add column explanation text,
    add column daemon text,
    add column attempt smallint not null default 1 check (attempt >= 1),
    -- How many daemons ended in the middle of it.
    add column deaths smallint not null default 0 check (deaths >= 0),
    -- NULL for a run that goes on: nobody holds it.
    add column lease_until timestamptz,
    add column eventful boolean not null default true,
    alter column started_at drop not null,
    alter column finished_at drop not null,
    alter column outcome drop not null,
    alter column report drop not null,
    add check ((due_at is null) = (last_due_at is null)),
    add check ((due_at is null) = (instants = 0)),
    add check (last_due_at >= due_at),
    add check ((status = 'running') = (finished_at is null)),
    add check ((status = 'skipped') = (reason is not null)),
    add check (status not in ('running', 'ran') or (started_at is not null and instants <= 1)),
    add check (status <> 'running' or (daemon is not null and fencing_token is not null)),
    add check ((status = 'ran') = (outcome is not null));
alter table public.task_runs alter column status drop default, alter column eventful set default false;
alter table public.task_runs set (fillfactor = 60);
comment on table public.task_runs is
    'What became of each instant of each periodic task, and the runs that `zmartd tick` made.';

drop index public.task_runs_newest;
create unique index task_runs_instant on public.task_runs (task, due_at);
create unique index task_runs_running on public.task_runs (task) where status = 'running';
create index task_runs_newest on public.task_runs (task, id desc) where status in ('running', 'ran');
create index task_runs_finished on public.task_runs (eventful, finished_at);

set local role service_role;
select setval('public.task_fencing_tokens', newest, false)
  from (select max(fencing_token) + 1 as newest from public.task_runs) as token where newest is not null;
reset role;

alter table public.task_schedules enable row level security;
alter table public.task_schedules force row level security;
revoke all on public.task_schedules from public, anon, authenticated;
revoke all on sequence public.task_fencing_tokens from public, anon, authenticated;
grant select, insert, update, delete on public.task_schedules to service_role;
create policy service on public.task_schedules to service_role using (true) with check (true);
