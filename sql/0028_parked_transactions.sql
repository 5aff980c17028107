-- Transactions in the program's history that could not be read or applied. Walks go past them because they are
-- here; they are tried again, ever less often, and go once they are applied or have left the chain.
create table public.parked_transactions (
    tx_signature zmartd.signature primary key,
    slot bigint not null check (slot >= 0),
    -- refused: the node gives others and not this one; unreadable: what it gives is no transaction that zmartd
    -- knows; withheld: the node lists it and has nothing of it; failed: it could be read and not be applied.
    reason text not null check (reason in ('refused', 'unreadable', 'withheld', 'failed')),
    detail text not null check (char_length(detail) <= 500),
    -- How often it was tried again.
    attempts integer not null default 0 check (attempts >= 0),
    parked_at timestamptz not null default now(),
    next_attempt_at timestamptz not null
);

create index parked_transactions_due on public.parked_transactions (next_attempt_at);

alter table public.parked_transactions enable row level security;
alter table public.parked_transactions force row level security;
revoke all on public.parked_transactions from public, anon, authenticated;
grant select, insert, update, delete on public.parked_transactions to service_role;
create policy service on public.parked_transactions to service_role using (true) with check (true);

-- Transactions that could not be read have been kept as JSON among the program's data lines.
set local role service_role;
insert into public.parked_transactions (tx_signature, slot, reason, detail, next_attempt_at)
select tx_signature, slot, 'unreadable', left(reason, 500), now() from public.quarantined_events
 where resolved_at is null and event_index = 0 and substring(data from 1 for 2) = '{"'::bytea
on conflict do nothing;
delete from public.quarantined_events
 where resolved_at is null and event_index = 0 and substring(data from 1 for 2) = '{"'::bytea;
reset role;

-- What was parked or set aside because it cannot be read is bounded apart from the rest: anything can be that.
alter table public.webhook_inbox add column unreadable boolean not null default false;
alter table public.unverified_transactions add column unreadable boolean not null default false;
