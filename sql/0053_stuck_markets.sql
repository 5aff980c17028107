-- Proposals that nobody approves, and markets that nobody activates or resolves, stay for ever: those that have
-- waited for long are counted without reading the others.
create index markets_waiting_for_people on public.markets (state, (coalesce(state_changed_at, created_at)), id)
    where state in ('PROPOSED', 'APPROVED');
create index markets_active_until on public.markets (end_date, id) where state = 'ACTIVE';
