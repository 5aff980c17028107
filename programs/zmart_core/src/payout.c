/* What leaves a market at its end. */
#include "admit.h"
#include "pool.h"

#define SMALLEST_WITHDRAWAL_LAMPORTS 10000

/* Whether the runtime lets an account have so many lamports more: not if it is left with less than its rent, nor, on
 * some clusters, if it is a program. */
static bool can_receive(const Account *to, u64 lamports) {
    return !to->is_executable && *to->lamports + lamports >= rent_minimum(to->data_length);
}

/* The resolver is paid with the first claim. It may have emptied its wallet, or deployed a program there: winners must
 * not wait for that, so its fees then wait for a later claim. */
static Error pay_resolver(Context *c) {
    u64 fees = c->market.accumulated_resolver_fees;
    if (!fees || !can_receive(account(c, ROLE_resolver), fees)) return OK;
    c->market.accumulated_resolver_fees = 0;
    return pay_out(c, ROLE_resolver, fees);
}

static Error claim_winnings(Context *c) {
    MarketAccount *market = &c->market;
    UserPosition *position = &c->position;
    u64 lamports;
    REQUIRE(market->state == MarketState_Finalized, E_InvalidMarketState);
    REQUIRE(!position->has_claimed, E_AlreadyClaimed);
    u64 claim = claim_of(market, position);
    REQUIRE(claim, E_NoWinnings);
    TRY(require_key(c, ROLE_resolver, &market->resolver, E_InvalidResolver));

    TRY(lamports_for(market, claim, &lamports));
    TRY(pay_out(c, ROLE_user, lamports));
    TRY(pay_resolver(c));
    CLAIMED(market) += claim;
    position->has_claimed = true;
    position->claimed_amount = lamports;
    save_market(c);
    save_position(c);
    emit_WinningsClaimed(&(WinningsClaimed){
        .market = *key_of(c, ROLE_market),
        .user = *key_of(c, ROLE_user),
        .outcome = market->final_outcome,
        .amount = lamports,
        .timestamp = c->now,
    });
    return OK;
}

/* The creator gets what nobody else is owed: the fees for liquidity, the pool's part of the shares that nobody owns,
 * and what rounding left. */
static Error withdraw_liquidity(Context *c) {
    MarketAccount *market = &c->market;
    const Account *pool = account(c, ROLE_market);
    u64 owed = 0, kept;
    TRY(require_key(c, ROLE_creator, &market->creator, E_Unauthorized));
    REQUIRE(market->state == MarketState_Finalized || market->state == MarketState_Cancelled, E_InvalidMarketState);
    if (market->state == MarketState_Finalized) TRY(lamports_for(market, unpaid_claims(market), &owed));
    TRY(sum(owed, market->accumulated_resolver_fees, &kept));
    TRY(sum(kept, rent_minimum(pool->data_length), &kept));
    REQUIRE(*pool->lamports > kept && *pool->lamports - kept > SMALLEST_WITHDRAWAL_LAMPORTS, E_InsufficientLiquidity);
    u64 lamports = *pool->lamports - kept;
    TRY(pay_out(c, ROLE_creator, lamports));
    market->accumulated_lp_fees = 0;
    save_market(c);
    emit_LiquidityWithdrawn(&(LiquidityWithdrawn){
        .market_id = market->market_id,
        .creator = market->creator,
        .amount = lamports,
        .timestamp = c->now,
    });
    return OK;
}
