create table public.users (
    wallet zmartd.address primary key,
    display_name text check (char_length(display_name) between 1 and 50),
    avatar_url text check (char_length(avatar_url) <= 500),
    bio text check (char_length(bio) <= 500),
    twitter_handle text check (twitter_handle ~ '^[A-Za-z0-9_]{1,15}$'),
    reputation_score integer not null default 0,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create trigger users_updated_at before update on public.users
    for each row execute function zmartd.touch_updated_at();

-- What a creator said a market is about. The chain knows only the content id of this document, so it is
-- registered here before or after the market appears on the chain.
create table public.market_metadata (
    market_id zmartd.market_id not null,
    creator_wallet zmartd.address not null,
    question text not null check (char_length(question) between 10 and 200),
    description text not null default '' check (char_length(description) <= 2000),
    category zmartd.category not null,
    tags text[] not null default '{}' check (cardinality(tags) <= 10),
    end_date timestamptz not null,
    cid text not null check (cid ~ '^Qm[1-9A-HJ-NP-Za-km-z]{44}$'),
    -- The exact bytes that `cid` is the content id of.
    document bytea not null check (octet_length(document) <= 65536),
    on_chain_address zmartd.address not null,
    b_parameter zmartd.u64 not null,
    initial_liquidity zmartd.u64 not null,
    created_at timestamptz not null default now(),
    -- Anybody may name any market id; only what the market's creator says about it counts.
    primary key (market_id, creator_wallet)
);

create index market_metadata_by_address on public.market_metadata (on_chain_address);
create index market_metadata_by_creator on public.market_metadata (creator_wallet, created_at desc);

-- The chain's markets, as of `slot`. Amounts that are sums of events have no lower bound here: events arrive
-- in any order, so a sale can be known before the purchase.
create table public.markets (
    id zmartd.market_id primary key,
    on_chain_address zmartd.address not null unique,

    question text not null default '' check (char_length(question) <= 200),
    description text not null default '' check (char_length(description) <= 2000),
    category zmartd.category not null default 'other',
    tags text[] not null default '{}',
    end_date timestamptz,
    -- Whether the texts above are the document whose content id the creator put on the chain.
    metadata_verified boolean not null default false,
    ipfs_question_hash text,
    ipfs_evidence_hash text,

    creator_wallet zmartd.address,
    resolver_wallet zmartd.address,
    dispute_initiator zmartd.address,

    -- State moves only forward by (state_slot, state_rank), the place of the event that set it.
    state zmartd.market_state not null default 'PROPOSED',
    state_slot bigint not null default 0,
    state_rank integer not null default 0,
    state_changed_at timestamptz,

    b_parameter zmartd.u64,
    initial_liquidity zmartd.u64,
    current_liquidity numeric(20, 0) not null default 0,
    shares_yes numeric(20, 0) not null default 0,
    shares_no numeric(20, 0) not null default 0,
    current_price_yes zmartd.price not null default 0.5,
    current_price_no zmartd.price not null default 0.5,
    total_volume numeric(20, 0) not null default 0,
    trades_count integer not null default 0,

    -- The resolver's fees leave the market with the first claim, the creator's with the withdrawal.
    accumulated_protocol_fees numeric(20, 0) not null default 0,
    resolver_fees_earned numeric(20, 0) not null default 0,
    lp_fees_earned numeric(20, 0) not null default 0,
    accumulated_resolver_fees numeric(20, 0) not null
        generated always as (case when resolver_paid then 0 else resolver_fees_earned end) stored,
    accumulated_lp_fees numeric(20, 0) not null
        generated always as (case when liquidity_withdrawn is null then lp_fees_earned else 0 end) stored,
    resolver_paid boolean not null default false,
    claimed_total numeric(20, 0) not null default 0,
    claims_count integer not null default 0,
    liquidity_withdrawn zmartd.u64,

    proposed_outcome boolean,
    final_outcome boolean,
    was_disputed boolean not null default false,

    -- Votes as recorded on the chain; votes not yet recorded are in proposal_votes and dispute_votes.
    proposal_likes bigint not null default 0,
    proposal_dislikes bigint not null default 0,
    proposal_total_votes bigint generated always as (proposal_likes + proposal_dislikes) stored,
    dispute_agree bigint not null default 0,
    dispute_disagree bigint not null default 0,
    dispute_total_votes bigint generated always as (dispute_agree + dispute_disagree) stored,
    -- The slots these counts are from: a count that comes late does not replace a newer one.
    proposal_counted_slot bigint not null default 0,
    dispute_counted_slot bigint not null default 0,

    created_at timestamptz not null default now(),
    approved_at timestamptz,
    activated_at timestamptz,
    resolution_proposed_at timestamptz,
    dispute_initiated_at timestamptz,
    finalized_at timestamptz,
    cancelled_at timestamptz,
    updated_at timestamptz not null default now(),

    -- False while only later events of the market are known, its creation not.
    chain_confirmed boolean not null default false,
    commitment zmartd.commitment not null default 'confirmed',
    slot bigint not null default 0,
    -- Grows by one with each change: the sequence number of the market's WebSocket frames.
    version bigint not null default 0,
    discussion_snapshot_cid text,

    search tsvector generated always as (
        setweight(to_tsvector('english', question), 'A') || setweight(to_tsvector('english', description), 'B')
    ) stored
);

create trigger markets_updated_at before update on public.markets
    for each row execute function zmartd.touch_updated_at();

create index markets_newest on public.markets (created_at desc, id desc);
create index markets_by_state on public.markets (state, created_at desc, id desc);
create index markets_by_category on public.markets (category, created_at desc, id desc);
create index markets_by_creator on public.markets (creator_wallet, created_at desc, id desc);
create index markets_by_volume on public.markets (total_volume desc, id desc);
create index markets_active_by_volume on public.markets (total_volume desc, id desc) where state = 'ACTIVE';
create index markets_active_by_end on public.markets (end_date, id) where state = 'ACTIVE';
create index markets_to_finalize on public.markets (resolution_proposed_at, id) where state = 'RESOLVING';
create index markets_in_dispute on public.markets (dispute_initiated_at, id) where state = 'DISPUTED';
create index markets_by_tag on public.markets using gin (tags);
create index markets_by_text on public.markets using gin (search);

create function zmartd.adopt_metadata(adopting text) returns boolean
    language sql
    as $$
        with adopted as (
            update public.markets as market
            set question = metadata.question,
                description = metadata.description,
                category = metadata.category,
                tags = metadata.tags,
                end_date = metadata.end_date,
                metadata_verified = metadata.cid is not distinct from market.ipfs_question_hash,
                version = market.version + 1
            from public.market_metadata as metadata
            where market.id = adopting
                and metadata.market_id = market.id
                and metadata.creator_wallet = market.creator_wallet
                and (market.question = '' or not market.metadata_verified)
            returning true
        )
        select exists (select from adopted)
    $$;
comment on function zmartd.adopt_metadata(text) is
    'Gives a market of the chain the texts that its creator registered. True when that changed the market.';
