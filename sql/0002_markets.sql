CREATE TABLE public.users (
    wallet zmartd.address PRIMARY KEY,
    display_name text CHECK (char_length(display_name) BETWEEN 1 AND 50),
    avatar_url text CHECK (char_length(avatar_url) <= 500),
    bio text CHECK (char_length(bio) <= 500),
    twitter_handle text CHECK (twitter_handle ~ '^[A-Za-z0-9_]{1,15}$'),
    reputation_score integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER users_updated_at BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION zmartd.touch_updated_at();

-- What a creator said a market is about. The chain knows only the content id of this document, so it is
-- registered here before or after the market appears on the chain.
CREATE TABLE public.market_metadata (
    market_id zmartd.market_id NOT NULL,
    creator_wallet zmartd.address NOT NULL,
    question text NOT NULL CHECK (char_length(question) BETWEEN 10 AND 200),
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 2000),
    category zmartd.category NOT NULL,
    tags text[] NOT NULL DEFAULT '{}' CHECK (cardinality(tags) <= 10),
    end_date timestamptz NOT NULL,
    cid text NOT NULL CHECK (cid ~ '^Qm[1-9A-HJ-NP-Za-km-z]{44}$'),
    -- The exact bytes that `cid` is the content id of.
    document bytea NOT NULL CHECK (octet_length(document) <= 65536),
    on_chain_address zmartd.address NOT NULL,
    b_parameter zmartd.u64 NOT NULL,
    initial_liquidity zmartd.u64 NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Anybody may name any market id; only what the market's creator says about it counts.
    PRIMARY KEY (market_id, creator_wallet)
);

CREATE INDEX market_metadata_by_address ON public.market_metadata (on_chain_address);
CREATE INDEX market_metadata_by_creator ON public.market_metadata (creator_wallet, created_at DESC);

-- The chain's markets, as of `slot`. Amounts that are sums of events have no lower bound here: events arrive
-- in any order, so a sale can be known before the purchase.
CREATE TABLE public.markets (
    id zmartd.market_id PRIMARY KEY,
    on_chain_address zmartd.address NOT NULL UNIQUE,

    question text NOT NULL DEFAULT '' CHECK (char_length(question) <= 200),
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 2000),
    category zmartd.category NOT NULL DEFAULT 'other',
    tags text[] NOT NULL DEFAULT '{}',
    end_date timestamptz,
    -- Whether the texts above are the document whose content id the creator put on the chain.
    metadata_verified boolean NOT NULL DEFAULT false,
    ipfs_question_hash text,
    ipfs_evidence_hash text,

    creator_wallet zmartd.address,
    resolver_wallet zmartd.address,
    dispute_initiator zmartd.address,

    -- State moves only forward by (state_slot, state_rank), the place of the event that set it.
    state zmartd.market_state NOT NULL DEFAULT 'PROPOSED',
    state_slot bigint NOT NULL DEFAULT 0,
    state_rank integer NOT NULL DEFAULT 0,
    state_changed_at timestamptz,

    b_parameter zmartd.u64,
    initial_liquidity zmartd.u64,
    current_liquidity numeric(20, 0) NOT NULL DEFAULT 0,
    shares_yes numeric(20, 0) NOT NULL DEFAULT 0,
    shares_no numeric(20, 0) NOT NULL DEFAULT 0,
    current_price_yes zmartd.price NOT NULL DEFAULT 0.5,
    current_price_no zmartd.price NOT NULL DEFAULT 0.5,
    total_volume numeric(20, 0) NOT NULL DEFAULT 0,
    trades_count integer NOT NULL DEFAULT 0,

    -- The resolver's fees leave the market with the first claim, the liquidity provider's with the withdrawal.
    accumulated_protocol_fees numeric(20, 0) NOT NULL DEFAULT 0,
    resolver_fees_earned numeric(20, 0) NOT NULL DEFAULT 0,
    lp_fees_earned numeric(20, 0) NOT NULL DEFAULT 0,
    accumulated_resolver_fees numeric(20, 0) NOT NULL
        GENERATED ALWAYS AS (CASE WHEN resolver_paid THEN 0 ELSE resolver_fees_earned END) STORED,
    accumulated_lp_fees numeric(20, 0) NOT NULL
        GENERATED ALWAYS AS (CASE WHEN liquidity_withdrawn IS NULL THEN lp_fees_earned ELSE 0 END) STORED,
    resolver_paid boolean NOT NULL DEFAULT false,
    claimed_total numeric(20, 0) NOT NULL DEFAULT 0,
    claims_count integer NOT NULL DEFAULT 0,
    liquidity_withdrawn zmartd.u64,

    proposed_outcome boolean,
    final_outcome boolean,
    was_disputed boolean NOT NULL DEFAULT false,

    -- Votes as recorded on the chain; votes not yet recorded are in proposal_votes and dispute_votes.
    proposal_likes bigint NOT NULL DEFAULT 0,
    proposal_dislikes bigint NOT NULL DEFAULT 0,
    proposal_total_votes bigint GENERATED ALWAYS AS (proposal_likes + proposal_dislikes) STORED,
    dispute_agree bigint NOT NULL DEFAULT 0,
    dispute_disagree bigint NOT NULL DEFAULT 0,
    dispute_total_votes bigint GENERATED ALWAYS AS (dispute_agree + dispute_disagree) STORED,
    -- The slots these counts are from: a count that comes late does not replace a newer one.
    proposal_counted_slot bigint NOT NULL DEFAULT 0,
    dispute_counted_slot bigint NOT NULL DEFAULT 0,

    created_at timestamptz NOT NULL DEFAULT now(),
    approved_at timestamptz,
    activated_at timestamptz,
    resolution_proposed_at timestamptz,
    dispute_initiated_at timestamptz,
    finalized_at timestamptz,
    cancelled_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),

    -- False while only later events of the market are known, its creation not.
    chain_confirmed boolean NOT NULL DEFAULT false,
    commitment zmartd.commitment NOT NULL DEFAULT 'confirmed',
    slot bigint NOT NULL DEFAULT 0,
    -- Grows by one with each change: the sequence number of the market's WebSocket frames.
    version bigint NOT NULL DEFAULT 0,
    discussion_snapshot_cid text,

    search tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', question), 'A') || setweight(to_tsvector('english', description), 'B')
    ) STORED
);

CREATE TRIGGER markets_updated_at BEFORE UPDATE ON public.markets
    FOR EACH ROW EXECUTE FUNCTION zmartd.touch_updated_at();

CREATE INDEX markets_newest ON public.markets (created_at DESC, id DESC);
CREATE INDEX markets_by_state ON public.markets (state, created_at DESC, id DESC);
CREATE INDEX markets_by_category ON public.markets (category, created_at DESC, id DESC);
CREATE INDEX markets_by_creator ON public.markets (creator_wallet, created_at DESC, id DESC);
CREATE INDEX markets_by_volume ON public.markets (total_volume DESC, id DESC);
CREATE INDEX markets_active_by_volume ON public.markets (total_volume DESC, id DESC) WHERE state = 'ACTIVE';
CREATE INDEX markets_active_by_end ON public.markets (end_date, id) WHERE state = 'ACTIVE';
CREATE INDEX markets_to_finalize ON public.markets (resolution_proposed_at, id) WHERE state = 'RESOLVING';
CREATE INDEX markets_in_dispute ON public.markets (dispute_initiated_at, id) WHERE state = 'DISPUTED';
CREATE INDEX markets_by_tag ON public.markets USING gin (tags);
CREATE INDEX markets_by_text ON public.markets USING gin (search);

CREATE FUNCTION zmartd.adopt_metadata(adopting text) RETURNS boolean
    LANGUAGE sql
    AS $$
        WITH adopted AS (
            UPDATE public.markets AS market
            SET question = metadata.question,
                description = metadata.description,
                category = metadata.category,
                tags = metadata.tags,
                end_date = metadata.end_date,
                metadata_verified = metadata.cid IS NOT DISTINCT FROM market.ipfs_question_hash,
                version = market.version + 1
            FROM public.market_metadata AS metadata
            WHERE market.id = adopting
                AND metadata.market_id = market.id
                AND metadata.creator_wallet = market.creator_wallet
                AND (market.question = '' OR NOT market.metadata_verified)
            RETURNING true
        )
        SELECT EXISTS (SELECT FROM adopted)
    $$;
COMMENT ON FUNCTION zmartd.adopt_metadata(text) IS
    'Gives a market of the chain the texts that its creator registered. True when that changed the market.';
