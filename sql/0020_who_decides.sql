-- Who decides a dispute, what each vote weighs, and what an admin decides where the votes do not.

-- The wallets that held a position at the slot at which the market's outcome was proposed. Keys cost nothing,
-- positions do: only these wallets vote on a dispute or ask for one.
create table public.dispute_electorate (
    market_id zmartd.market_id not null references public.markets (id),
    user_wallet zmartd.address not null,
    -- Lamports: the cost basis of what the wallet held then.
    stake numeric(20, 0) not null check (stake >= 0),
    primary key (market_id, user_wallet)
);

create function zmartd.refresh_electorate(of_markets text[]) returns void
    language sql
    as $$
        delete from public.dispute_electorate where market_id = any(of_markets);
        with resolution as (
            select market_id, max(slot) as slot
            from public.market_events
            where market_id = any(of_markets) and event_type = 'MarketResolved'
            group by market_id
        ), traded as (
            select trade.market_id, trade.user_wallet, trade.outcome,
                   sum(case trade.trade_type when 'buy' then trade.shares else -trade.shares end) as shares,
                   zmartd.lot(trade.trade_type = 'buy', trade.shares, trade.cost
                              order by trade.slot, trade.index_in_block nulls first,
                                       trade.tx_signature, trade.event_index) as lot
            from resolution
            join public.trades as trade
                on trade.market_id = resolution.market_id and trade.slot <= resolution.slot
            group by trade.market_id, trade.user_wallet, trade.outcome
        ), transferred as (
            select moved.market_id, side.wallet as user_wallet,
                   (moved.payload ->> 'outcome')::boolean as outcome,
                   sum(side.sign * (moved.payload ->> 'shares')::numeric) as shares
            from resolution
            join public.trade_events as moved
                on moved.market_id = resolution.market_id and moved.slot <= resolution.slot
            cross join lateral (
                values (moved.payload ->> 'from', -1), (moved.payload ->> 'to', 1)
            ) as side (wallet, sign)
            where moved.event_type = 'SharesTransferred'
            group by moved.market_id, side.wallet, (moved.payload ->> 'outcome')::boolean
        ), held as (
            select market_id, user_wallet,
                   coalesce(traded.shares, 0) + coalesce(transferred.shares, 0) as shares, traded.lot
            from traded full join transferred using (market_id, user_wallet, outcome)
        )
        insert into public.dispute_electorate (market_id, user_wallet, stake)
        select market_id, user_wallet, sum(zmartd.held_cost(lot, shares))
        from held
        where shares > 0
        group by market_id, user_wallet;
    $$;
comment on function zmartd.refresh_electorate(text[]) is
    'Works out anew who held a position in these markets when their outcome was proposed, from the events.';

-- Where a dispute stands once its votes are counted. The two tallies are by wallet (yes, no) and by stake.
alter table public.vote_tallies
    add column counted_at timestamptz,
    add column stake_yes numeric(20, 0) not null default 0,
    add column stake_no numeric(20, 0) not null default 0,
    add column electorate_wallets bigint not null default 0,
    add column electorate_stake numeric(20, 0) not null default 0,
    -- Votes that were cast and do not count: of wallets outside the electorate.
    add column not_counted bigint not null default 0,
    -- What the tallies say, and when the backend acts on it unless an admin decides otherwise before. NULL: it
    -- does not.
    add column verdict text check (verdict in ('keep', 'overturn')),
    add column settles_at timestamptz,
    add check ((verdict is null) = (settles_at is null));
comment on column public.vote_tallies.counted_at is 'NULL while the votes are closed and not counted yet.';

-- What an admin decided, and why, for everybody to read. A market that is disputed after it was decided upon
-- can be decided upon once more.
create table public.market_decisions (
    market_id zmartd.market_id not null references public.markets (id),
    state zmartd.market_state not null check (state in ('RESOLVING', 'DISPUTED')),
    decision text not null check (decision in ('keep', 'overturn', 'refund')),
    because text not null check (char_length(because) between 10 and 2000),
    -- The admin's wallet; NULL: the operator, by the command line.
    decided_by zmartd.address,
    decided_at timestamptz not null default now(),
    primary key (market_id, state)
);

-- Set by the tasks, and taken back by whatever moves the market to another state.
alter table public.markets
    add column awaiting_decision boolean not null default false,
    add column settles_at timestamptz;
create index markets_awaiting_decision on public.markets (id) where awaiting_decision;

do $$
declare
    table_name text;
begin
    foreach table_name in array array['dispute_electorate', 'market_decisions'] loop
        execute format('alter table public.%I enable row level security', table_name);
        execute format('alter table public.%I force row level security', table_name);
        execute format('revoke all on public.%I from public, anon, authenticated', table_name);
        execute format('grant select, insert, update, delete on public.%I to service_role', table_name);
        execute format(
            'create policy service on public.%I to service_role using (true) with check (true)', table_name
        );
    end loop;
end
$$;

grant select on public.dispute_electorate to authenticated;
create policy own_read on public.dispute_electorate for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));
grant select on public.market_decisions to anon, authenticated;
create policy public_read on public.market_decisions for select to anon, authenticated using (true);

-- Only the electorate votes on a dispute or asks for one.
drop policy own_insert on public.dispute_votes;
create policy own_insert on public.dispute_votes for insert to authenticated
    with check (
        user_wallet = (select zmartd.caller_wallet())
        and source = 'api'
        and exists (
            select from public.dispute_electorate as held
            where held.market_id = dispute_votes.market_id and held.user_wallet = dispute_votes.user_wallet
        )
    );
drop policy own_insert on public.dispute_requests;
create policy own_insert on public.dispute_requests for insert to authenticated
    with check (
        user_wallet = (select zmartd.caller_wallet())
        and exists (
            select from public.markets as market
            where market.id = dispute_requests.market_id and market.state = 'RESOLVING'
        )
        and exists (
            select from public.dispute_electorate as held
            where held.market_id = dispute_requests.market_id and held.user_wallet = dispute_requests.user_wallet
        )
    );

set local role service_role;
-- Counts that were taken by other rules are taken anew.
delete from public.vote_tallies;
select zmartd.refresh_electorate(array(select id::text from public.markets where resolution_proposed_at is not null));
reset role;
