/* A market's way from proposal to its final outcome. */

static u64 create_market(Context *context) {
    LOG("Instruction: CreateMarket");
    ARGUMENTS(32 + 8 + 8 + CID_LENGTH);
    ACCOUNTS(4);
    const Account *creator = &account[0], *made = &account[1];
    NEED_SIGNER(creator, "creator");
    NEED_WRITABLE(creator, "creator");
    NEED_WRITABLE(made, "market");
    NEED_SYSTEM_PROGRAM(&account[3]);
    Config config;
    TRY(load_config(context, &account[2], &config));
    Market market;
    sol_memset_(&market, 0, sizeof market);
    Pubkey derived;
    Slice seeds[3] = {NAME("market"), {arguments, 32}, {&market.bump, 1}};
    sol_try_find_program_address(seeds, 2, context->program, &derived, &market.bump);
    if (!same_key(&derived, made->key)) return BLAME(ConstraintSeeds, "market");
    Slice signer = {seeds, 3};
    TRY(create_account(context, creator, made, MARKET_SIZE, &signer));
    REQUIRE(!config.is_paused, ProtocolPaused);
    market.b = GET64(arguments + 32);
    market.initial_liquidity = market.current_liquidity = GET64(arguments + 40);
    REQUIRE(market.b > 0, InvalidBParameter);
    REQUIRE(market.initial_liquidity > 0, InvalidLiquidity);
    TRY(transfer(context, creator, made, market.initial_liquidity));
    sol_memcpy_(market.id, arguments, 32);
    sol_memcpy_(market.cid, arguments + 48, CID_LENGTH);
    market.creator = *creator->key;
    market.shares_yes = market.shares_no = market.b / SEED_DIVISOR;
    market.created_at = now();
    store_market(made, &market);
    Event event;
    begin(&event, EVENT_MarketCreated);
    put_key(&event, market.id);
    put_key(&event, &market.creator);
    put64(&event, market.b);
    put8(&event, market.state);
    put64(&event, market.created_at);
    return emit(&event);
}

/* Accounts signer, market, global_config, as approval, activation and cancellation take them */
static u64 load_for_signer(Context *context, Market *market, Config *config, const Slice *name) {
    ACCOUNTS(3);
    if (!account[0].is_signer) return fail_for(ERROR_AccountNotSigner, name->at, name->length);
    NEED_WRITABLE(&account[1], "market");
    TRY(load_market(context, &account[1], market));
    return load_config(context, &account[2], config);
}

static u64 approve_proposal(Context *context) {
    LOG("Instruction: ApproveProposal");
    static const Slice name = NAME("admin");
    Market market;
    Config config;
    TRY(load_for_signer(context, &market, &config, &name));
    const Account *account = context->account;
    NEED_WRITABLE(&account[0], "admin");
    REQUIRE(same_key(&config.admin, account[0].key), Unauthorized);
    REQUIRE(market.state == PROPOSED, InvalidStateTransition);
    REQUIRE(market.proposal[2] > 0, NoVotesRecorded);
    REQUIRE(share_bps(market.proposal[0], market.proposal[2]) >= config.approval_threshold, InsufficientVotes);
    market.state = APPROVED;
    market.approved_at = now();
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_ProposalApproved);
    put_key(&event, market.id);
    put_key(&event, account[0].key);
    put64(&event, market.approved_at);
    return emit(&event);
}

static u64 activate_market(Context *context) {
    LOG("Instruction: ActivateMarket");
    static const Slice name = NAME("authority");
    Market market;
    Config config;
    TRY(load_for_signer(context, &market, &config, &name));
    const Account *account = context->account;
    NEED_WRITABLE(&account[0], "authority");
    REQUIRE(same_key(&config.admin, account[0].key) || same_key(&market.creator, account[0].key), Unauthorized);
    REQUIRE(market.state == APPROVED, InvalidStateTransition);
    market.state = ACTIVE;
    market.activated_at = now();
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_MarketActivated);
    put_key(&event, market.id);
    put_key(&event, &market.creator);
    put64(&event, market.initial_liquidity);
    put64(&event, market.activated_at);
    return emit(&event);
}

static u64 cancel_market(Context *context) {
    LOG("Instruction: CancelMarket");
    static const Slice name = NAME("admin");
    Market market;
    Config config;
    TRY(load_for_signer(context, &market, &config, &name));
    const Account *account = context->account;
    REQUIRE(same_key(&config.admin, account[0].key), Unauthorized);
    REQUIRE(market.state != CANCELLED, MarketAlreadyCancelled);
    REQUIRE(market.state == PROPOSED || market.state == APPROVED, CannotCancelMarket);
    market.state = CANCELLED;
    market.has_cancelled_at = 1;
    market.cancelled_at = now();
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_MarketCancelled);
    put_key(&event, market.id);
    put_key(&event, account[0].key);
    put64(&event, market.cancelled_at);
    return emit(&event);
}

static u64 resolve_market(Context *context) {
    LOG("Instruction: ResolveMarket");
    ARGUMENTS(1 + CID_LENGTH);
    BOOLEAN(0);
    ACCOUNTS(3);
    const Account *resolver = &account[2];
    NEED_WRITABLE(&account[1], "market");
    NEED_SIGNER(resolver, "resolver");
    NEED_WRITABLE(resolver, "resolver");
    Config config;
    Market market;
    TRY(load_config(context, &account[0], &config));
    TRY(load_market(context, &account[1], &market));
    i64 at = now();
    REQUIRE(market.state == ACTIVE, InvalidMarketState);
    REQUIRE(market.proposed_outcome == NONE, AlreadyResolved);
    REQUIRE(at > market.activated_at, InvalidTimestamp);
    market.state = RESOLVING;
    market.resolver = *resolver->key;
    market.proposed_outcome = arguments[0] ? SOME_TRUE : SOME_FALSE;
    market.resolution_proposed_at = at;
    sol_memcpy_(market.cid, arguments + 1, CID_LENGTH);
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_MarketResolved);
    put_key(&event, market.id);
    put_key(&event, &market.resolver);
    put8(&event, arguments[0]);
    sol_memcpy_(event.bytes + event.length, market.cid, CID_LENGTH);
    event.length += CID_LENGTH;
    put64(&event, at);
    return emit(&event);
}

static u64 initiate_dispute(Context *context) {
    LOG("Instruction: InitiateDispute");
    ACCOUNTS(3);
    NEED_WRITABLE(&account[1], "market");
    NEED_SIGNER(&account[2], "initiator");
    Config config;
    Market market;
    TRY(load_config(context, &account[0], &config));
    TRY(load_market(context, &account[1], &market));
    i64 at = now();
    REQUIRE(market.state == RESOLVING, InvalidMarketState);
    REQUIRE(at > market.resolution_proposed_at, InvalidTimestamp);
    REQUIRE(at - market.resolution_proposed_at < config.dispute_period, DisputePeriodEnded);
    market.state = DISPUTED;
    market.dispute_initiator = *account[2].key;
    market.dispute_initiated_at = at;
    market.dispute[0] = market.dispute[1] = market.dispute[2] = 0;
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_DisputeInitiated);
    put_key(&event, market.id);
    put_key(&event, account[2].key);
    put_option(&event, market.proposed_outcome);
    put64(&event, at);
    return emit(&event);
}

/* Two option<u32>; both are 0 where they are not given */
static u64 read_counts(const Context *context, u32 *counts, u8 *given) {
    const u8 *at = context->data + 8, *end = context->data + context->data_length;
    for (u64 i = 0; i < 2; i++) {
        counts[i] = 0;
        if (at >= end || *at > 1) return FAIL(InstructionDidNotDeserialize);
        given[i] = *at++;
        if (!given[i]) continue;
        if (at + 4 > end) return FAIL(InstructionDidNotDeserialize);
        counts[i] = GET32(at);
        at += 4;
    }
    return 0;
}

/* The market may not have lost more than b * ln 2 */
static u64 check_bounded_loss(const Market *market) {
    u64 bound;
    if (market->current_liquidity >= market->initial_liquidity) return 0;
    COMPUTE(multiply(market->b, LN_2, &bound));
    REQUIRE(market->initial_liquidity - market->current_liquidity <= bound, BoundedLossExceeded);
    return 0;
}

static u64 finalize_market(Context *context) {
    LOG("Instruction: FinalizeMarket");
    u32 counts[2];
    u8 given[2];
    TRY(read_counts(context, counts, given));
    ACCOUNTS(3);
    NEED_WRITABLE(&account[1], "market");
    NEED_SIGNER(&account[2], "backend_authority");
    Config config;
    Market market;
    TRY(load_config(context, &account[0], &config));
    TRY(load_market(context, &account[1], &market));
    REQUIRE(same_key(&config.backend_authority, account[2].key), Unauthorized);
    REQUIRE(market.state == RESOLVING || market.state == DISPUTED, InvalidMarketState);
    i64 at = now();
    market.final_outcome = market.proposed_outcome;
    if (market.state == RESOLVING) {
        REQUIRE(at - market.resolution_proposed_at >= config.dispute_period, DisputePeriodNotEnded);
    } else {
        u64 total = (u64)counts[0] + counts[1];
        REQUIRE(given[0] && given[1] && total > 0, NoVotesRecorded);
        REQUIRE(total <= ~0u, OverflowError);
        market.dispute[0] = counts[0];
        market.dispute[1] = counts[1];
        market.dispute[2] = (u32)total;
        market.was_disputed = 1;
        if (share_bps(counts[0], total) >= config.dispute_threshold && market.proposed_outcome != NONE)
            market.final_outcome = market.proposed_outcome == SOME_TRUE ? SOME_FALSE : SOME_TRUE;
    }
    TRY(check_bounded_loss(&market));
    market.state = FINALIZED;
    market.finalized_at = at;
    store_market(&account[1], &market);
    Event event;
    begin(&event, EVENT_MarketFinalized);
    put_key(&event, market.id);
    put_option(&event, market.final_outcome);
    put8(&event, market.was_disputed);
    put64(&event, at);
    return emit(&event);
}
