-- What puts evaluations of the rules of alerts into an order, and tells outages of the database apart.

create table public.alert_order (
    id smallint primary key default 1,
    -- How many evaluations were written. Each reads this together with its facts, and is written only while it
    -- is the same.
    evaluations bigint not null default 0,
    -- Grows when daemons can write again, once for all of them.
    recoveries bigint not null default 0
) with (fillfactor = 10);
comment on table public.alert_order is 'One row: how many evaluations were written, and outages ended.';

alter table public.alert_order enable row level security;
alter table public.alert_order force row level security;
revoke all on public.alert_order from public, anon, authenticated;
grant select, insert, update, delete on public.alert_order to service_role;
create policy service on public.alert_order to service_role using (true) with check (true);
