/* A market's lamports: what it counts beyond the fields that the IDL names, what it owes, and paying.
 *
 * Winners share current_liquidity by their shares. Without an outcome everybody gets back what they paid in more than
 * they took out, or, when the pool is smaller than all that, a part of it. Both ways a claim is a part of all claims. */
#pragma once
#include "addresses.h"
#include "lmsr.h"

#define SEED_SHARES_DIVISOR 1000

INLINE u64 seed_shares(u64 b) { return b / SEED_SHARES_DIVISOR; }

/* Counters in the accounts' reserved bytes. */
INLINE raw_u64 *reserved_u64(u8 *reserved, u64 index) { return (raw_u64 *)reserved + index; }

/* Of a finalized market: the claims that are paid, in winning shares, or in lamports to refund. */
#define CLAIMED(market) (*reserved_u64((market)->reserved.bytes, 0))
/* The sum of all positions' refundable lamports. */
#define REFUNDABLE(market) (*reserved_u64((market)->reserved.bytes, 1))
/* What a position got out of its sales, after fees. */
#define TOTAL_RETURNED(position) (*reserved_u64((position)->reserved.bytes, 0))

static u64 refundable(UserPosition *position) {
    u64 invested = position->total_invested, returned = TOTAL_RETURNED(position);
    return invested > returned ? invested - returned : 0;
}

static u64 winning_shares(const MarketAccount *market) {
    return market->final_outcome.value ? market->shares_yes : market->shares_no;
}

static u64 claim_of(const MarketAccount *market, UserPosition *position) {
    if (!market->final_outcome.is_some) return refundable(position);
    return market->final_outcome.value ? position->shares_yes : position->shares_no;
}

static u64 unpaid_claims(MarketAccount *market) {
    if (!market->final_outcome.is_some) return REFUNDABLE(market) - CLAIMED(market);
    return winning_shares(market) - seed_shares(market->b_parameter) - CLAIMED(market);
}

/* Rounded down: what is owed for several claims together is never less than the sum of what is paid for each. */
static Error lamports_for(MarketAccount *market, u64 claim, u64 *out) {
    u64 pool = market->current_liquidity;
    u64 all = market->final_outcome.is_some ? winning_shares(market) : REFUNDABLE(market);
    *out = claim;
    if (!claim || (!market->final_outcome.is_some && all <= pool)) return OK;
    return ratio(claim, pool, all, out);
}

/* Pays out of the market, which the runtime lets the program do without a call; never out of the market's rent. */
static Error pay_out(Context *c, u8 to, u64 lamports) {
    const Account *from = account(c, ROLE_market);
    u64 least;
    TRY(sum(rent_minimum(from->data_length), lamports, &least));
    REQUIRE(*from->lamports >= least, E_WouldBreakRentExemption);
    *from->lamports -= lamports;
    *account(c, to)->lamports += lamports;
    return OK;
}
