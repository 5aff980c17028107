-- Who may see and write which row.
--
-- Every table is closed, also to its owner, and then opened row by row:
--   service_role   everything: the indexer, the tasks, and counts over private rows;
--   authenticated  what is public, and the rows of the wallet in request.jwt.claims;
--   anon           what is public, wallets of traders and authors shortened.
-- Privileges name the columns, so that a policy is never the only thing between a caller and a field.
-- A later migration that reads or changes rows has to `set local role service_role` first.

do $$
declare
    table_name text;
begin
    foreach table_name in array array[
        'users', 'markets', 'market_metadata', 'trades', 'user_positions', 'proposal_votes', 'dispute_votes',
        'vote_tallies', 'dispute_requests', 'discussions', 'ipfs_anchors', 'market_events', 'trade_events',
        'vote_events', 'admin_events', 'quarantined_events', 'protocol_config_history', 'protocol',
        'outbox_transactions', 'webhook_inbox', 'indexer_cursor', 'market_finalization_errors',
        'idempotency_keys', 'task_runs'
    ] loop
        execute format('alter table public.%I enable row level security', table_name);
        execute format('alter table public.%I force row level security', table_name);
        -- Supabase grants everything on new tables to all three roles by default.
        execute format('revoke all on public.%I from public, anon, authenticated', table_name);
        execute format('grant select, insert, update, delete on public.%I to service_role', table_name);
        execute format(
            'create policy service on public.%I to service_role using (true) with check (true)', table_name
        );
    end loop;
end
$$;

grant usage on all sequences in schema public to service_role;

-- Public to everybody.

grant select on public.markets, public.vote_tallies, public.ipfs_anchors, public.protocol,
    public.protocol_config_history, public.market_events, public.admin_events, public.vote_events
    to anon, authenticated;
create policy public_read on public.markets for select to anon, authenticated using (true);
create policy public_read on public.vote_tallies for select to anon, authenticated using (true);
create policy public_read on public.ipfs_anchors for select to anon, authenticated using (true);
create policy public_read on public.protocol for select to anon, authenticated using (true);
create policy public_read on public.protocol_config_history for select to anon, authenticated using (true);
create policy public_read on public.market_events for select to anon, authenticated using (true);
create policy public_read on public.admin_events for select to anon, authenticated using (true);
-- Counts are public, who voted how is not.
create policy public_read on public.vote_events for select to anon, authenticated
    using (event_type in ('ProposalAggregated', 'DisputeAggregated'));

-- A proposal is public from the moment it is registered; registering is its creator's alone.
grant select on public.market_metadata to anon, authenticated;
grant insert (market_id, creator_wallet, question, description, category, tags, end_date, cid, document,
              on_chain_address, b_parameter, initial_liquidity)
    on public.market_metadata to authenticated;
create policy public_read on public.market_metadata for select to anon, authenticated using (true);
create policy own_insert on public.market_metadata for insert to authenticated
    with check (creator_wallet = (select zmartd.caller_wallet()));

-- Trades: public, with whole wallets only for those who signed in.
grant select (id, market_id, user_masked, trade_type, outcome, shares, cost, amount, protocol_fee,
              resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot, index_in_block, block_time,
              commitment, created_at)
    on public.trades to anon;
grant select on public.trades to authenticated;
create policy public_read on public.trades for select to anon, authenticated using (true);

-- Discussions: threads are public, writing is the author's. An author still sees what was deleted.
grant select (id, market_id, user_masked, parent_id, content, created_at, edited_at, deleted_at)
    on public.discussions to anon;
grant select on public.discussions to authenticated;
grant insert (market_id, user_wallet, parent_id, content) on public.discussions to authenticated;
grant update (content, edited_at, deleted_at) on public.discussions to authenticated;
create policy public_read on public.discussions for select to anon, authenticated using (deleted_at is null);
create policy own_read on public.discussions for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));
create policy own_insert on public.discussions for insert to authenticated
    with check (user_wallet = (select zmartd.caller_wallet()));
create policy own_update on public.discussions for update to authenticated
    using (user_wallet = (select zmartd.caller_wallet()) and deleted_at is null)
    with check (user_wallet = (select zmartd.caller_wallet()));

-- One's own, and nobody else's.

grant select on public.user_positions to authenticated;
create policy own_read on public.user_positions for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));

grant select on public.proposal_votes, public.dispute_votes to authenticated;
grant insert (market_id, user_wallet, vote) on public.proposal_votes, public.dispute_votes to authenticated;
create policy own_read on public.proposal_votes for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));
create policy own_insert on public.proposal_votes for insert to authenticated
    with check (user_wallet = (select zmartd.caller_wallet()) and source = 'api');
create policy own_read on public.dispute_votes for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));
create policy own_insert on public.dispute_votes for insert to authenticated
    with check (user_wallet = (select zmartd.caller_wallet()) and source = 'api');

-- Only who holds a position in a market that can still be disputed has a say.
grant select on public.dispute_requests to authenticated;
grant insert (market_id, user_wallet) on public.dispute_requests to authenticated;
create policy own_read on public.dispute_requests for select to authenticated
    using (user_wallet = (select zmartd.caller_wallet()));
create policy own_insert on public.dispute_requests for insert to authenticated
    with check (
        user_wallet = (select zmartd.caller_wallet())
        and exists (
            select from public.markets as market
            where market.id = dispute_requests.market_id and market.state = 'RESOLVING'
        )
        and exists (
            select from public.user_positions as held
            where held.market_id = dispute_requests.market_id
                and held.user_wallet = dispute_requests.user_wallet
                and (held.shares_yes > 0 or held.shares_no > 0)
        )
    );

grant select on public.users to authenticated;
grant insert (wallet, display_name, avatar_url, bio, twitter_handle) on public.users to authenticated;
grant update (display_name, avatar_url, bio, twitter_handle, last_seen_at) on public.users to authenticated;
create policy own_read on public.users for select to authenticated
    using (wallet = (select zmartd.caller_wallet()));
create policy own_insert on public.users for insert to authenticated
    with check (wallet = (select zmartd.caller_wallet()));
create policy own_update on public.users for update to authenticated
    using (wallet = (select zmartd.caller_wallet()))
    with check (wallet = (select zmartd.caller_wallet()));
