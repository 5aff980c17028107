-- Final transactions that mention the program, succeeded, and did nothing that the index keeps, like a payment
-- into one of its accounts. A backfill need not fetch them again.
create table public.eventless_transactions (
    tx_signature zmartd.signature primary key,
    slot bigint not null check (slot >= 0)
);

alter table public.eventless_transactions enable row level security;
alter table public.eventless_transactions force row level security;
revoke all on public.eventless_transactions from public, anon, authenticated;
grant select, insert, update, delete on public.eventless_transactions to service_role;
create policy service on public.eventless_transactions to service_role using (true) with check (true);
