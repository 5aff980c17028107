/* The program's own arithmetic, compiled for the machine that the tests run on. */
#include "lmsr.h"

Error native_ratio(u64 a, u64 b, u64 divisor, u64 *out) { return ratio(a, b, divisor, out); }

Error native_price_yes(const Curve *at, u64 *out) { return curve_price_yes(at, out); }

Error native_cost(const Curve *at, u64 *out) { return curve_cost(at, out); }

Error native_buy(const Curve *at, bool outcome, u64 target, Purchase *out) {
    return quote_purchase(at, outcome, target, out);
}

Error native_sell(const Curve *at, bool outcome, u64 shares, u64 *out) {
    return quote_sale(at, outcome, shares, out);
}

Error native_fees(u64 amount, const FeeRates *rates, Fees *out) { return split_fees(amount, rates, out); }
