-- All events of the program, whatever table keeps them, for reads that need every kind. The row level security
-- and the privileges of the four tables apply to whoever reads it. Reading traders' events takes the service
-- role, so that nobody else is granted the view.
create view public.program_events with (security_invoker = true) as
    select 'market_events' as source, event.* from public.market_events as event
    union all
    select 'trade_events', event.* from public.trade_events as event
    union all
    select 'vote_events', event.* from public.vote_events as event
    union all
    select 'admin_events', event.* from public.admin_events as event;

revoke all on public.program_events from public, anon, authenticated;
grant select on public.program_events to service_role;
