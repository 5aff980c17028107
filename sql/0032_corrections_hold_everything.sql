-- A correction holds all that the accounts of a market had at a slot. The market is that and what its later events
-- add, in whatever order events and corrections come.

-- Corrections of before hold only what differed then. What they made up for is an alert again, and the next repair
-- reads the accounts anew.
set local role service_role;
update public.truncated_transactions as truncated set resolved_at = null
  from public.market_corrections as dropped join public.markets on markets.id = dropped.market_id
 where truncated.changes @> array[markets.on_chain_address::text] and truncated.slot <= dropped.slot
   and truncated.reason is not null;
delete from public.market_corrections;
reset role;

alter table public.market_corrections
    drop column differences,
    -- Facts of the audit by name: of the market, and of each wallet's position in it.
    add column market jsonb not null,
    add column positions jsonb not null,
    -- The facts that the events up to `slot` do not say; `positions` for those of any position.
    add column unexplained text[] not null default '{}';

-- The slot of the correction that the row contains: a copy that is locked with the row.
alter table public.markets add column corrected_slot bigint;

-- In a corrected market the accounts say who holds shares. What they had cost is not known where the trades are not:
-- such a stake is 0, and the backend settles nothing by the tallies.
create or replace function zmartd.refresh_electorate(of_markets text[]) returns void
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

        delete from public.dispute_electorate as known using public.markets as market
        where known.market_id = any(of_markets) and market.id = known.market_id
          and market.corrected_slot is not null
          and not exists (
              select from public.user_positions as held
              where (held.market_id, held.user_wallet) = (known.market_id, known.user_wallet)
                and held.shares_yes + held.shares_no > 0
          );
        insert into public.dispute_electorate (market_id, user_wallet, stake)
        select held.market_id, held.user_wallet, 0
        from public.markets as market join public.user_positions as held on held.market_id = market.id
        where market.id = any(of_markets) and market.corrected_slot is not null
          and market.resolution_proposed_at is not null and held.shares_yes + held.shares_no > 0
        on conflict do nothing;
    $$;
comment on function zmartd.refresh_electorate(text[]) is
    'Works out anew who held a position in these markets when their outcome was proposed, from the events and, in corrected markets, from the positions.';
