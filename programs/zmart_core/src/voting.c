/* Votes on proposals and disputes, and the counts that the backend brings. */

/* votes for * 10000 / all votes; 0 when there are none */
INLINE u64 share_bps(u32 for_, u64 total) { return total ? (u64)for_ * BPS / total : 0; }

static u64 submit_vote(Context *context, u8 type, u8 open_state, u64 event_discriminator) {
    ARGUMENTS(1);
    BOOLEAN(0);
    ACCOUNTS(4);
    const Account *voted_on = &account[0], *made = &account[1], *user = &account[2];
    NEED_WRITABLE(made, "vote_record");
    NEED_SIGNER(user, "user");
    NEED_WRITABLE(user, "user");
    NEED_SYSTEM_PROGRAM(&account[3]);
    Market market;
    TRY(load_market(context, voted_on, &market));
    Pubkey derived;
    u8 bump;
    Slice seeds[5] = {NAME("vote"), {voted_on->key, 32}, {user->key, 32}, {&type, 1}, {&bump, 1}};
    sol_try_find_program_address(seeds, 4, context->program, &derived, &bump);
    if (!same_key(&derived, made->key)) return BLAME(ConstraintSeeds, "vote_record");
    Slice signer = {seeds, 5};
    TRY(create_account(context, user, made, VOTE_SIZE, &signer));
    REQUIRE(market.state == open_state, InvalidStateForVoting);
    i64 at = now();
    SET64(made->data, ACCOUNT_VoteRecord);
    *(Pubkey *)(made->data + 8) = *voted_on->key;
    *(Pubkey *)(made->data + 40) = *user->key;
    made->data[72] = type;
    made->data[73] = arguments[0];
    SET64(made->data + 74, at);
    made->data[82] = bump;
    Event event;
    begin(&event, event_discriminator);
    put_key(&event, market.id);
    put_key(&event, user->key);
    put8(&event, arguments[0]);
    put64(&event, at);
    return emit(&event);
}

static u64 submit_proposal_vote(Context *context) {
    LOG("Instruction: SubmitProposalVote");
    return submit_vote(context, 0, PROPOSED, EVENT_ProposalVoteSubmitted);
}

static u64 submit_dispute_vote(Context *context) {
    LOG("Instruction: SubmitDisputeVote");
    return submit_vote(context, 1, DISPUTED, EVENT_DisputeVoteSubmitted);
}

/* Accounts market, global_config, backend_authority, as both aggregations take them */
static u64 load_for_backend(Context *context, Market *market, Config *config) {
    ACCOUNTS(3);
    NEED_WRITABLE(&account[0], "market");
    NEED_SIGNER(&account[2], "backend_authority");
    TRY(load_market(context, &account[0], market));
    TRY(load_config(context, &account[1], config));
    REQUIRE(same_key(&config->backend_authority, account[2].key), Unauthorized);
    return 0;
}

static u64 aggregate_proposal_votes(Context *context) {
    LOG("Instruction: AggregateProposalVotes");
    ARGUMENTS(8);
    Market market;
    Config config;
    TRY(load_for_backend(context, &market, &config));
    REQUIRE(market.state == PROPOSED, InvalidStateForVoting);
    u32 likes = GET32(arguments), dislikes = GET32(arguments + 4);
    u64 total = (u64)likes + dislikes, share = share_bps(likes, total);
    REQUIRE(total <= ~0u, OverflowError);
    market.proposal[0] = likes;
    market.proposal[1] = dislikes;
    market.proposal[2] = (u32)total;
    store_market(&context->account[0], &market);
    Event event;
    begin(&event, EVENT_ProposalAggregated);
    put_key(&event, market.id);
    put32(&event, likes);
    put32(&event, dislikes);
    put8(&event, (u8)(share / 100));
    put8(&event, total && share >= config.approval_threshold);
    put64(&event, now());
    return emit(&event);
}

static u64 aggregate_dispute_votes(Context *context) {
    LOG("Instruction: AggregateDisputeVotes");
    ARGUMENTS(8);
    Market market;
    Config config;
    TRY(load_for_backend(context, &market, &config));
    REQUIRE(market.state == DISPUTED, InvalidStateForVoting);
    u32 agrees = GET32(arguments), disagrees = GET32(arguments + 4);
    u64 total = (u64)agrees + disagrees, share = share_bps(agrees, total);
    REQUIRE(total <= ~0u, OverflowError);
    u8 succeeded = total && share >= config.dispute_threshold;
    i64 at = now();
    market.dispute[0] = agrees;
    market.dispute[1] = disagrees;
    market.dispute[2] = (u32)total;
    market.was_disputed = 1;
    market.state = succeeded ? RESOLVING : FINALIZED;
    if (!succeeded) market.finalized_at = at;
    store_market(&context->account[0], &market);
    Event event;
    begin(&event, EVENT_DisputeAggregated);
    put_key(&event, market.id);
    put32(&event, agrees);
    put32(&event, disagrees);
    put8(&event, (u8)(share / 100));
    put8(&event, succeeded);
    put64(&event, at);
    return emit(&event);
}
