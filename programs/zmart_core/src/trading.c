/* Buying and selling shares on the curve. */

INLINE u64 net_invested(const Position *position) {
    u64 in = position->total_invested, out = position->total_returned;
    return in > out ? in - out : 0;
}

/* What a refund of everybody would cost follows each position's net investment. */
static u64 update_refundable(Market *market, u64 before, const Position *position) {
    u64 without;
    COMPUTE(subtract(market->refundable, before, &without));
    COMPUTE(add(without, net_invested(position), &market->refundable));
    return 0;
}

static u64 book_fees(Market *market, const Fees *fees) {
    COMPUTE(add(market->protocol_fees, fees->protocol, &market->protocol_fees));
    COMPUTE(add(market->resolver_fees, fees->resolver, &market->resolver_fees));
    COMPUTE(add(market->provider_fees, fees->provider, &market->provider_fees));
    return 0;
}

/* Move lamports out of an account of ours, never below what keeps it alive */
static u64 debit(const Account *from, const Account *to, u64 lamports) {
    u64 floor, left;
    TRY(rent_exempt_minimum(from->data_length, &floor));
    COMPUTE(subtract(*from->lamports, lamports, &left));
    REQUIRE(left >= floor, WouldBreakRentExemption);
    u64 credited;
    *from->lamports = left;
    COMPUTE(add(*to->lamports, lamports, &credited));
    *to->lamports = credited;
    return 0;
}

/* Accounts global_config, market, position, user, protocol_fee_wallet, system_program, as both trades take them */
static u64 load_for_trade(Context *context, Config *config, Market *market) {
    ACCOUNTS(6);
    const Account *user = &account[3], *fee_wallet = &account[4];
    NEED_WRITABLE(&account[1], "market");
    NEED_WRITABLE(&account[2], "position");
    NEED_SIGNER(user, "user");
    NEED_WRITABLE(user, "user");
    NEED_WRITABLE(fee_wallet, "protocol_fee_wallet");
    NEED_SYSTEM_PROGRAM(&account[5]);
    TRY(load_config(context, &account[0], config));
    TRY(load_market(context, &account[1], market));
    if (!same_key(fee_wallet->key, &config->fee_wallet)) return BLAME(ConstraintAddress, "protocol_fee_wallet");
    return 0;
}

static u64 open_position(Context *context, Position *position) {
    const Account *market = &context->account[1], *made = &context->account[2], *user = &context->account[3];
    if (made->data_length || !same_key(made->owner, SYSTEM_PROGRAM))
        return load_position(context, made, market, user, position);
    sol_memset_(position, 0, sizeof *position);
    Pubkey derived;
    Slice seeds[4] = {NAME("position"), {market->key, 32}, {user->key, 32}, {&position->bump, 1}};
    sol_try_find_program_address(seeds, 3, context->program, &derived, &position->bump);
    if (!same_key(&derived, made->key)) return BLAME(ConstraintSeeds, "position");
    Slice signer = {seeds, 4};
    TRY(create_account(context, user, made, POSITION_SIZE, &signer));
    position->market = *market->key;
    position->user = *user->key;
    return 0;
}

static u64 announce_trade(const Market *market, const Account *user, u64 discriminator, const u64 *numbers,
                          u8 outcome) {
    u64 price;
    COMPUTE(price_of_yes(market->shares_yes, market->shares_no, market->b, &price));
    Event event;
    begin(&event, discriminator);
    put_key(&event, market->id);
    put_key(&event, user->key);
    put8(&event, outcome);
    put64(&event, numbers[0]);
    put64(&event, numbers[1]);
    put64(&event, price);
    put64(&event, now());
    return emit(&event);
}

static u64 buy_shares(Context *context) {
    LOG("Instruction: BuyShares");
    ARGUMENTS(9);
    BOOLEAN(0);
    u8 outcome = arguments[0];
    u64 target = GET64(arguments + 1);
    Config config;
    Market market;
    Position position;
    TRY(load_for_trade(context, &config, &market));
    TRY(open_position(context, &position));
    const Account *account = context->account;
    REQUIRE(!config.is_paused, ProtocolPaused);
    REQUIRE(market.state == ACTIVE, InvalidMarketState);
    REQUIRE(target >= MIN_TRADE_LAMPORTS, TradeTooSmall);
    Curve curve = {market.shares_yes, market.shares_no, market.b};
    Fees fees;
    u64 budget, cost, bought[2], before = net_invested(&position);
    COMPUTE(multiply_divide(target, 10000, 11000, &budget));
    COMPUTE(quote_buy(&curve, outcome, budget, &cost, &bought[0]));
    COMPUTE(split_fees(cost, config.fee_bps, &fees));
    COMPUTE(add(cost, fees.total, &bought[1]));
    REQUIRE(bought[1] <= target, SlippageExceeded);
    TRY(transfer(context, &account[3], &account[1], bought[1] - fees.protocol));
    if (fees.protocol) TRY(transfer(context, &account[3], &account[4], fees.protocol));
    u64 *side = outcome ? &market.shares_yes : &market.shares_no;
    u64 *held = outcome ? &position.shares_yes : &position.shares_no;
    COMPUTE(add(*side, bought[0], side));
    COMPUTE(add(*held, bought[0], held));
    COMPUTE(add(market.current_liquidity, cost, &market.current_liquidity));
    COMPUTE(add(market.total_volume, bought[1], &market.total_volume));
    COMPUTE(add(position.total_invested, bought[1], &position.total_invested));
    position.trades_count++;
    position.last_trade_at = now();
    TRY(book_fees(&market, &fees));
    TRY(update_refundable(&market, before, &position));
    store_market(&account[1], &market);
    store_position(&account[2], &position);
    return announce_trade(&market, &account[3], EVENT_SharesBought, bought, outcome);
}

static u64 sell_shares(Context *context) {
    LOG("Instruction: SellShares");
    ARGUMENTS(17);
    BOOLEAN(0);
    u8 outcome = arguments[0];
    u64 minimum = GET64(arguments + 9);
    Config config;
    Market market;
    Position position;
    TRY(load_for_trade(context, &config, &market));
    const Account *account = context->account;
    TRY(load_position(context, &account[2], &account[1], &account[3], &position));
    REQUIRE(!config.is_paused, ProtocolPaused);
    REQUIRE(market.state == ACTIVE, InvalidMarketState);
    u64 *side = outcome ? &market.shares_yes : &market.shares_no;
    u64 *held = outcome ? &position.shares_yes : &position.shares_no;
    u64 proceeds, sold[2] = {GET64(arguments + 1), 0}, before = net_invested(&position);
    REQUIRE(sold[0] <= *held, InsufficientShares);
    Curve curve = {market.shares_yes, market.shares_no, market.b};
    Fees fees;
    COMPUTE(quote_sell(&curve, outcome, sold[0], &proceeds));
    REQUIRE(proceeds >= MIN_TRADE_LAMPORTS, TradeTooSmall);
    COMPUTE(split_fees(proceeds, config.fee_bps, &fees));
    COMPUTE(subtract(proceeds, fees.total, &sold[1]));
    REQUIRE(sold[1] >= minimum, SlippageExceeded);
    REQUIRE(proceeds <= market.current_liquidity, InsufficientLiquidity);
    TRY(debit(&account[1], &account[3], sold[1]));
    TRY(debit(&account[1], &account[4], fees.protocol));
    *side -= sold[0];
    *held -= sold[0];
    market.current_liquidity -= proceeds;
    COMPUTE(add(market.total_volume, proceeds, &market.total_volume));
    COMPUTE(add(position.total_returned, sold[1], &position.total_returned));
    position.trades_count++;
    position.last_trade_at = now();
    TRY(book_fees(&market, &fees));
    TRY(update_refundable(&market, before, &position));
    store_market(&account[1], &market);
    store_position(&account[2], &position);
    return announce_trade(&market, &account[3], EVENT_SharesSold, sold, outcome);
}
