/* What leaves a market after its end. */

INLINE int holds_final_outcome(const Market *market) { return market->final_outcome != NONE; }

INLINE u64 winning_shares(const Market *market) {
    return market->final_outcome == SOME_TRUE ? market->shares_yes : market->shares_no;
}

/* What one position gets: its part of the pool, or its money back where there is no outcome */
static u64 winnings(const Market *market, const Position *position, u64 *amount, u64 *counted) {
    if (holds_final_outcome(market)) {
        *counted = market->final_outcome == SOME_TRUE ? position->shares_yes : position->shares_no;
        if (*counted == 0) return FAIL(NoWinnings);
        COMPUTE(multiply_divide(*counted, market->current_liquidity, winning_shares(market), amount));
        return 0;
    }
    *counted = *amount = net_invested(position);
    if (*counted == 0) return FAIL(NoWinnings);
    if (market->refundable > market->current_liquidity)
        COMPUTE(multiply_divide(*amount, market->current_liquidity, market->refundable, amount));
    return 0;
}

/* What holders who have not claimed yet are owed at most */
static u64 unclaimed(const Market *market, u64 *amount) {
    *amount = 0;
    if (market->state == CANCELLED) return 0;
    if (holds_final_outcome(market)) {
        u64 shares;
        COMPUTE(subtract(winning_shares(market), market->b / SEED_DIVISOR, &shares));
        COMPUTE(subtract(shares, market->claimed_shares, &shares));
        if (shares) COMPUTE(multiply_divide(shares, market->current_liquidity, winning_shares(market), amount));
        return 0;
    }
    u64 claims;
    COMPUTE(subtract(market->refundable, market->claimed_shares, &claims));
    *amount = claims;
    if (market->refundable > market->current_liquidity)
        COMPUTE(multiply_divide(claims, market->current_liquidity, market->refundable, amount));
    return 0;
}

static u64 claim_winnings(Context *context) {
    LOG("Instruction: ClaimWinnings");
    ACCOUNTS(6);
    const Account *pool = &account[1], *user = &account[3], *resolver = &account[4];
    NEED_WRITABLE(pool, "market");
    NEED_WRITABLE(&account[2], "position");
    NEED_SIGNER(user, "user");
    NEED_WRITABLE(user, "user");
    NEED_WRITABLE(resolver, "resolver");
    NEED_SYSTEM_PROGRAM(&account[5]);
    Config config;
    Market market;
    Position position;
    TRY(load_config(context, &account[0], &config));
    TRY(load_market(context, pool, &market));
    TRY(load_position(context, &account[2], pool, user, &position));
    REQUIRE(market.state == FINALIZED, InvalidMarketState);
    REQUIRE(!position.has_claimed, AlreadyClaimed);
    REQUIRE(same_key(resolver->key, &market.resolver), InvalidResolver);
    u64 amount, counted;
    TRY(winnings(&market, &position, &amount, &counted));
    TRY(debit(pool, user, amount));
    TRY(debit(pool, resolver, market.resolver_fees));
    market.resolver_fees = 0;
    COMPUTE(add(market.claimed_shares, counted, &market.claimed_shares));
    position.has_claimed = 1;
    position.claimed_amount = amount;
    store_market(pool, &market);
    store_position(&account[2], &position);
    Event event;
    begin(&event, EVENT_WinningsClaimed);
    put_key(&event, pool->key);
    put_key(&event, user->key);
    put_option(&event, market.final_outcome);
    put64(&event, amount);
    put64(&event, now());
    return emit(&event);
}

static u64 withdraw_liquidity(Context *context) {
    LOG("Instruction: WithdrawLiquidity");
    ACCOUNTS(2);
    const Account *pool = &account[0], *creator = &account[1];
    NEED_WRITABLE(pool, "market");
    NEED_SIGNER(creator, "creator");
    NEED_WRITABLE(creator, "creator");
    Market market;
    TRY(load_market(context, pool, &market));
    REQUIRE(same_key(creator->key, &market.creator), Unauthorized);
    REQUIRE(market.state == FINALIZED || market.state == CANCELLED, InvalidMarketState);
    u64 owed, floor, free = *pool->lamports;
    TRY(unclaimed(&market, &owed));
    TRY(rent_exempt_minimum(pool->data_length, &floor));
    COMPUTE(add(owed, market.resolver_fees, &owed));
    COMPUTE(add(owed, floor, &owed));
    REQUIRE(free > owed && free - owed > MIN_WITHDRAWAL_LAMPORTS, InsufficientLiquidity);
    u64 amount = free - owed;
    TRY(debit(pool, creator, amount));
    market.provider_fees = 0;
    store_market(pool, &market);
    Event event;
    begin(&event, EVENT_LiquidityWithdrawn);
    put_key(&event, market.id);
    put_key(&event, creator->key);
    put64(&event, amount);
    put64(&event, now());
    return emit(&event);
}
