-- Who may see and write which row.
--
-- Every table is closed, also to its owner, and then opened row by row:
--   service_role   everything: the indexer, the tasks, and counts over private rows;
--   authenticated  what is public, and the rows of the wallet in request.jwt.claims;
--   anon           what is public, wallets of traders and authors shortened.
-- Privileges name the columns, so that a policy is never the only thing between a caller and a field.

DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'users', 'markets', 'market_metadata', 'trades', 'user_positions', 'proposal_votes', 'dispute_votes',
        'vote_tallies', 'dispute_requests', 'discussions', 'ipfs_anchors', 'market_events', 'trade_events',
        'vote_events', 'admin_events', 'quarantined_events', 'protocol_config_history', 'protocol',
        'outbox_transactions', 'webhook_inbox', 'indexer_cursor', 'market_finalization_errors',
        'idempotency_keys', 'task_runs'
    ] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', table_name);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', table_name);
        -- Supabase grants everything on new tables to all three roles by default.
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated', table_name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO service_role', table_name);
        EXECUTE format(
            'CREATE POLICY service ON public.%I TO service_role USING (true) WITH CHECK (true)', table_name
        );
    END LOOP;
END
$$;

GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO service_role;

-- Public to everybody.

GRANT SELECT ON public.markets, public.vote_tallies, public.ipfs_anchors, public.protocol,
    public.protocol_config_history, public.market_events, public.admin_events, public.vote_events
    TO anon, authenticated;
CREATE POLICY public_read ON public.markets FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.vote_tallies FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.ipfs_anchors FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.protocol FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.protocol_config_history FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.market_events FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY public_read ON public.admin_events FOR SELECT TO anon, authenticated USING (true);
-- Counts are public, who voted how is not.
CREATE POLICY public_read ON public.vote_events FOR SELECT TO anon, authenticated
    USING (event_type IN ('ProposalAggregated', 'DisputeAggregated'));

-- A proposal is public from the moment it is registered; registering is its creator's alone.
GRANT SELECT ON public.market_metadata TO anon, authenticated;
GRANT INSERT (market_id, creator_wallet, question, description, category, tags, end_date, cid, document,
              on_chain_address, b_parameter, initial_liquidity)
    ON public.market_metadata TO authenticated;
CREATE POLICY public_read ON public.market_metadata FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY own_insert ON public.market_metadata FOR INSERT TO authenticated
    WITH CHECK (creator_wallet = (SELECT zmartd.caller_wallet()));

-- Trades: public, with whole wallets only for those who signed in.
GRANT SELECT (id, market_id, user_masked, trade_type, outcome, shares, cost, amount, protocol_fee,
              resolver_fee, lp_fee, price_after, tx_signature, event_index, slot, index_in_block, block_time,
              commitment, created_at)
    ON public.trades TO anon;
GRANT SELECT ON public.trades TO authenticated;
CREATE POLICY public_read ON public.trades FOR SELECT TO anon, authenticated USING (true);

-- Discussions: threads are public, writing is the author's. An author still sees what was deleted.
GRANT SELECT (id, market_id, user_masked, parent_id, content, created_at, edited_at, deleted_at)
    ON public.discussions TO anon;
GRANT SELECT ON public.discussions TO authenticated;
GRANT INSERT (market_id, user_wallet, parent_id, content) ON public.discussions TO authenticated;
GRANT UPDATE (content, edited_at, deleted_at) ON public.discussions TO authenticated;
CREATE POLICY public_read ON public.discussions FOR SELECT TO anon, authenticated USING (deleted_at IS NULL);
CREATE POLICY own_read ON public.discussions FOR SELECT TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_insert ON public.discussions FOR INSERT TO authenticated
    WITH CHECK (user_wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_update ON public.discussions FOR UPDATE TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()) AND deleted_at IS NULL)
    WITH CHECK (user_wallet = (SELECT zmartd.caller_wallet()));

-- One's own, and nobody else's.

GRANT SELECT ON public.user_positions TO authenticated;
CREATE POLICY own_read ON public.user_positions FOR SELECT TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()));

GRANT SELECT ON public.proposal_votes, public.dispute_votes TO authenticated;
GRANT INSERT (market_id, user_wallet, vote) ON public.proposal_votes, public.dispute_votes TO authenticated;
CREATE POLICY own_read ON public.proposal_votes FOR SELECT TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_insert ON public.proposal_votes FOR INSERT TO authenticated
    WITH CHECK (user_wallet = (SELECT zmartd.caller_wallet()) AND source = 'api');
CREATE POLICY own_read ON public.dispute_votes FOR SELECT TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_insert ON public.dispute_votes FOR INSERT TO authenticated
    WITH CHECK (user_wallet = (SELECT zmartd.caller_wallet()) AND source = 'api');

-- Only who holds a position in a market that can still be disputed has a say.
GRANT SELECT ON public.dispute_requests TO authenticated;
GRANT INSERT (market_id, user_wallet) ON public.dispute_requests TO authenticated;
CREATE POLICY own_read ON public.dispute_requests FOR SELECT TO authenticated
    USING (user_wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_insert ON public.dispute_requests FOR INSERT TO authenticated
    WITH CHECK (
        user_wallet = (SELECT zmartd.caller_wallet())
        AND EXISTS (
            SELECT FROM public.markets AS market
            WHERE market.id = dispute_requests.market_id AND market.state = 'RESOLVING'
        )
        AND EXISTS (
            SELECT FROM public.user_positions AS held
            WHERE held.market_id = dispute_requests.market_id
                AND held.user_wallet = dispute_requests.user_wallet
                AND (held.shares_yes > 0 OR held.shares_no > 0)
        )
    );

GRANT SELECT ON public.users TO authenticated;
GRANT INSERT (wallet, display_name, avatar_url, bio, twitter_handle) ON public.users TO authenticated;
GRANT UPDATE (display_name, avatar_url, bio, twitter_handle, last_seen_at) ON public.users TO authenticated;
CREATE POLICY own_read ON public.users FOR SELECT TO authenticated
    USING (wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_insert ON public.users FOR INSERT TO authenticated
    WITH CHECK (wallet = (SELECT zmartd.caller_wallet()));
CREATE POLICY own_update ON public.users FOR UPDATE TO authenticated
    USING (wallet = (SELECT zmartd.caller_wallet()))
    WITH CHECK (wallet = (SELECT zmartd.caller_wallet()));
