/* Buying from the curve and selling to it. */
#include "admit.h"
#include "pool.h"

#define SMALLEST_TRADE_LAMPORTS 10000
/* A buyer's budget before fees: the program sets a tenth of it aside, whatever the fees are. */
#define BUDGET_PARTS 10000
#define BUDGET_PARTS_WITH_FEES 11000

static Error require_trading(Context *c) {
    TRY(require_key(c, ROLE_protocol_fee_wallet, &c->config.protocol_fee_wallet, E_ConstraintAddress));
    REQUIRE(c->market.state == MarketState_Active, E_InvalidMarketState);
    REQUIRE(!c->config.is_paused, E_ProtocolPaused);
    return OK;
}

INLINE Curve curve_of(const MarketAccount *market) {
    return (Curve){market->shares_yes, market->shares_no, market->b_parameter};
}

static Error fees_on(const Context *c, u64 amount, Fees *out) {
    const GlobalConfig *config = &c->config;
    return split_fees(
        amount, &(FeeRates){config->protocol_fee_bps, config->resolver_reward_bps, config->liquidity_provider_fee_bps},
        out);
}

/* The protocol's part goes to its wallet at once; the others' stay in the market until the end. */
static Error count_fees(MarketAccount *market, const Fees *fees) {
    TRY(sum(market->accumulated_protocol_fees, fees->protocol, &market->accumulated_protocol_fees));
    TRY(sum(market->accumulated_resolver_fees, fees->resolver, &market->accumulated_resolver_fees));
    return sum(market->accumulated_lp_fees, fees->lp, &market->accumulated_lp_fees);
}

static Error count_trade(Context *c, u64 refundable_before) {
    UserPosition *position = &c->position;
    REFUNDABLE(&c->market) += refundable(position) - refundable_before;
    position->last_trade_at = c->now;
    REQUIRE(!__builtin_add_overflow(position->trades_count, 1, &position->trades_count), E_OverflowError);
    save_market(c);
    save_position(c);
    return OK;
}

static void seeds_of_position(const Context *c, Seeds *out) {
    *out = *POSITION_SEEDS(key_of(c, ROLE_market), key_of(c, ROLE_user));
}

static Error ensure_position(Context *c) {
    if (has_position(c)) return OK;
    TRY(create_account(c, ROLE_user, ROLE_position, POSITION_BYTES));
    c->position = (UserPosition){
        .market = *key_of(c, ROLE_market),
        .user = *key_of(c, ROLE_user),
        .bump = c->made.bump,
    };
    return OK;
}

static Error buy_shares(Context *c) {
    const buy_shares_arguments *order = &c->arguments.buy_shares;
    MarketAccount *market = &c->market;
    UserPosition *position = &c->position;
    Purchase bought;
    Fees fees;
    u64 budget, total, price;
    TRY(require_trading(c));
    REQUIRE(order->target_cost >= SMALLEST_TRADE_LAMPORTS, E_TradeTooSmall);

    Curve before = curve_of(market), after;
    TRY(ratio(order->target_cost, BUDGET_PARTS, BUDGET_PARTS_WITH_FEES, &budget));
    TRY(quote_purchase(&before, order->outcome, budget, &bought));
    TRY(fees_on(c, bought.amount, &fees));
    TRY(sum(bought.amount, fees.total, &total));
    REQUIRE(total <= order->target_cost, E_SlippageExceeded);
    TRY(ensure_position(c));
    TRY(transfer(c, ROLE_user, ROLE_protocol_fee_wallet, fees.protocol));
    TRY(transfer(c, ROLE_user, ROLE_market, total - fees.protocol));

    TRY(curve_after(&before, order->outcome, bought.shares, &after));
    TRY(curve_price_yes(&after, &price));
    market->shares_yes = after.yes;
    market->shares_no = after.no;
    TRY(sum(market->current_liquidity, bought.amount, &market->current_liquidity));
    TRY(sum(market->total_volume, total, &market->total_volume));
    TRY(count_fees(market, &fees));
    u64 refundable_before = refundable(position);
    u64 *held = order->outcome ? &position->shares_yes : &position->shares_no;
    TRY(sum(*held, bought.shares, held));
    TRY(sum(position->total_invested, total, &position->total_invested));
    TRY(count_trade(c, refundable_before));
    emit_SharesBought(&(SharesBought){
        .market_id = market->market_id,
        .user = *key_of(c, ROLE_user),
        .outcome = order->outcome,
        .shares = bought.shares,
        .cost = total,
        .new_price_yes = price,
        .timestamp = c->now,
    });
    return OK;
}

static Error sell_shares(Context *c) {
    const sell_shares_arguments *order = &c->arguments.sell_shares;
    MarketAccount *market = &c->market;
    UserPosition *position = &c->position;
    Fees fees;
    u64 proceeds, price;
    u64 *held = order->outcome ? &position->shares_yes : &position->shares_no;
    TRY(require_trading(c));
    REQUIRE(order->shares_to_sell <= *held, E_InsufficientShares);

    Curve curve = curve_of(market);
    TRY(quote_sale(&curve, order->outcome, order->shares_to_sell, &proceeds));
    REQUIRE(proceeds >= SMALLEST_TRADE_LAMPORTS, E_TradeTooSmall);
    TRY(fees_on(c, proceeds, &fees));
    u64 net = proceeds - fees.total;
    REQUIRE(net >= order->min_proceeds, E_SlippageExceeded);
    REQUIRE(market->current_liquidity >= proceeds, E_InsufficientLiquidity);
    TRY(pay_out(c, ROLE_user, net));
    TRY(pay_out(c, ROLE_protocol_fee_wallet, fees.protocol));

    *(order->outcome ? &curve.yes : &curve.no) -= order->shares_to_sell;
    TRY(curve_price_yes(&curve, &price));
    market->shares_yes = curve.yes;
    market->shares_no = curve.no;
    market->current_liquidity -= proceeds;
    TRY(sum(market->total_volume, proceeds, &market->total_volume));
    TRY(count_fees(market, &fees));
    u64 refundable_before = refundable(position);
    *held -= order->shares_to_sell;
    u64 returned = TOTAL_RETURNED(position);
    TRY(sum(returned, net, &returned));
    TOTAL_RETURNED(position) = returned;
    TRY(count_trade(c, refundable_before));
    emit_SharesSold(&(SharesSold){
        .market_id = market->market_id,
        .user = *key_of(c, ROLE_user),
        .outcome = order->outcome,
        .shares = order->shares_to_sell,
        .proceeds = net,
        .new_price_yes = price,
        .timestamp = c->now,
    });
    return OK;
}
