-- What the index works out of events has no bound: an event that never happened may tell any 64-bit number, and
-- until it is taken back, true events are added to it. A sum that did not fit would refuse them.

alter table public.markets drop column accumulated_resolver_fees, drop column accumulated_lp_fees;
alter table public.markets
    alter column current_liquidity type numeric,
    alter column shares_yes type numeric,
    alter column shares_no type numeric,
    alter column total_volume type numeric,
    alter column accumulated_protocol_fees type numeric,
    alter column resolver_fees_earned type numeric,
    alter column lp_fees_earned type numeric,
    alter column claimed_total type numeric,
    alter column liquidity_withdrawn type numeric;
alter table public.markets
    add column accumulated_resolver_fees numeric not null
        generated always as (case when resolver_paid then 0 else resolver_fees_earned end) stored,
    add column accumulated_lp_fees numeric not null
        generated always as (case when liquidity_withdrawn is null then lp_fees_earned else 0 end) stored;

-- Amounts before fees are worked out of the fees that were told.
alter table public.trades
    alter column amount type numeric,
    alter column protocol_fee type numeric,
    alter column resolver_fee type numeric,
    alter column lp_fee type numeric;

-- Who may ask for a dispute is decided by the shares: the policy has to be away meanwhile, as it is now.
do $$
declare
    rule text;
begin
    select pg_get_expr(polwithcheck, polrelid) into strict rule
      from pg_policy where polrelid = 'public.dispute_requests'::regclass and polname = 'own_insert';
    drop policy own_insert on public.dispute_requests;
    alter table public.user_positions
        alter column shares_yes type numeric,
        alter column shares_no type numeric,
        alter column total_invested type numeric,
        alter column total_returned type numeric,
        alter column claimed_amount type numeric;
    execute format(
        'create policy own_insert on public.dispute_requests for insert to authenticated with check (%s)', rule
    );
end
$$;

-- What a wallet's shares have cost it is worked out of its trades, and sums of that are what votes weigh.
alter table public.dispute_electorate alter column stake type numeric;
alter table public.vote_tallies
    alter column stake_yes type numeric,
    alter column stake_no type numeric,
    alter column electorate_stake type numeric;
