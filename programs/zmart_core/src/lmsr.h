/* The price curve and the fees on a trade. Shares and b have nine decimals, amounts are lamports. */
#pragma once
#include "fixed.h"

#define SMALLEST_B (100 * ONE)
#define SEARCH_SPAN_IN_B 20
#define SEARCH_ROUNDS 50
#define SEARCH_RESOLUTION 1000000
#define BASIS_POINTS 10000

/* Outstanding shares and the liquidity parameter. */
typedef struct {
    u64 yes, no, b;
} Curve;

typedef struct {
    u64 amount, shares;
} Purchase;

typedef struct {
    u64 protocol_bps, resolver_bps, lp_bps;
} FeeRates;

typedef struct {
    u64 protocol, resolver, lp, total;
} Fees;

/* b * ln(e^(yes/b) + e^(no/b)), taken apart at the larger exponent. */
static Error curve_cost(const Curve *at, u64 *out) {
    u64 x, y, growth, tail, logarithm_of_tail, exponent;
    REQUIRE(at->b >= SMALLEST_B, E_InvalidBParameter);
    TRY(divided(at->yes, at->b, &x));
    TRY(divided(at->no, at->b, &y));
    u64 larger = x > y ? x : y, smaller = x > y ? y : x;
    TRY(exponential(larger - smaller, &growth));
    TRY(divided(ONE, growth, &tail));
    TRY(logarithm(ONE + tail, &logarithm_of_tail));
    TRY(sum(larger, logarithm_of_tail, &exponent));
    return multiplied(at->b, exponent, out);
}

/* The price of a YES share; that of NO is ONE minus it. */
static Error curve_price_yes(const Curve *at, u64 *out) {
    REQUIRE(at->b >= SMALLEST_B, E_InvalidBParameter);
    u64 exponent, odds;
    u64 distance = at->yes > at->no ? at->yes - at->no : at->no - at->yes;
    TRY(divided(distance, at->b, &exponent));
    TRY(exponential(exponent, &odds));
    return divided(at->yes >= at->no ? odds : ONE, odds + ONE, out);
}

static Error curve_after(const Curve *at, bool outcome, u64 bought, Curve *out) {
    *out = *at;
    u64 *side = outcome ? &out->yes : &out->no;
    return sum(*side, bought, side);
}

static Error cost_of(const Curve *at, bool outcome, u64 shares, u64 cost_before, u64 *out) {
    Curve after;
    u64 cost_after;
    TRY(curve_after(at, outcome, shares, &after));
    TRY(curve_cost(&after, &cost_after));
    return difference(cost_after, cost_before, out);
}

/* The purchase for about `target` lamports before fees: bisection, to within SEARCH_RESOLUTION of the shares. */
static Error quote_purchase(const Curve *at, bool outcome, u64 target, Purchase *out) {
    u64 before, amount, low = 0, high;
    TRY(curve_cost(at, &before));
    TRY(ratio(at->b, SEARCH_SPAN_IN_B, 1, &high));
    for (u64 round = 0; round < SEARCH_ROUNDS && high - low > SEARCH_RESOLUTION; round++) {
        u64 middle = low + (high - low) / 2;
        TRY(cost_of(at, outcome, middle, before, &amount));
        if (amount == target) {
            low = middle;
            break;
        }
        if (amount < target) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    out->shares = low;
    return cost_of(at, outcome, low, before, &out->amount);
}

/* What the curve gives for `shares`, before fees. */
static Error quote_sale(const Curve *at, bool outcome, u64 shares, u64 *proceeds) {
    u64 before, after_sale;
    Curve after = *at;
    u64 *side = outcome ? &after.yes : &after.no;
    REQUIRE(shares <= *side, E_InsufficientShares);
    *side -= shares;
    TRY(curve_cost(at, &before));
    TRY(curve_cost(&after, &after_sale));
    return difference(before, after_sale, proceeds);
}

/* The liquidity provider gets what the roundings of the other parts leave. */
static Error split_fees(u64 amount, const FeeRates *rates, Fees *out) {
    u64 total_bps = rates->protocol_bps + rates->resolver_bps + rates->lp_bps;
    *out = (Fees){0};
    if (!total_bps) return OK;
    TRY(ratio(amount, total_bps, BASIS_POINTS, &out->total));
    TRY(ratio(out->total, rates->protocol_bps, total_bps, &out->protocol));
    TRY(ratio(out->total, rates->resolver_bps, total_bps, &out->resolver));
    out->lp = out->total - out->protocol - out->resolver;
    return OK;
}
