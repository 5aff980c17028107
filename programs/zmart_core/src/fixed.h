/* Fixed point with nine decimals, and the market's price curve in it. Every division truncates.
   Functions answer 0, or the number of the program's error. */
#pragma once

#define ONE 1000000000ul
#define LN_2 693147180ul
#define MAX_EXPONENT (20 * ONE)
#define MIN_B (100 * ONE)
#define SEARCH_ROUNDS 50
#define SEARCH_RESOLUTION 1000000ul

#define TRY(expression)                    \
    do {                                   \
        u64 failed_ = (expression);        \
        if (failed_) return failed_;       \
    } while (0)

/* high:low = a * b */
INLINE void wide_multiply(u64 a, u64 b, u64 *high, u64 *low) {
    u64 a0 = (u32)a, a1 = a >> 32, b0 = (u32)b, b1 = b >> 32;
    u64 p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0, p11 = a1 * b1;
    u64 middle = (p00 >> 32) + (u32)p01 + (u32)p10;
    *high = p11 + (p01 >> 32) + (p10 >> 32) + (middle >> 32);
    *low = middle << 32 | (u32)p00;
}

/* high:low / divisor for high < divisor: schoolbook with 32-bit digits (Knuth's algorithm D). */
INLINE u64 wide_divide(u64 high, u64 low, u64 divisor) {
    if (high == 0) return low / divisor;
    u64 shift = 0;
    for (u64 step = 32; step; step >>= 1)
        if (!(divisor >> (64 - step))) divisor <<= step, shift += step;
    if (shift) high = high << shift | low >> (64 - shift), low <<= shift;
    u64 d1 = divisor >> 32, d0 = (u32)divisor, n1 = low >> 32, n0 = (u32)low;
    u64 q1 = high / d1, r = high - q1 * d1;
    while (q1 >> 32 || q1 * d0 > (r << 32 | n1)) {
        q1--, r += d1;
        if (r >> 32) break;
    }
    u64 rest = (high << 32 | n1) - q1 * divisor;
    u64 q0 = rest / d1;
    r = rest - q0 * d1;
    while (q0 >> 32 || q0 * d0 > (r << 32 | n0)) {
        q0--, r += d1;
        if (r >> 32) break;
    }
    return q1 << 32 | q0;
}

/* *result = a * b / divisor, or OverflowError */
static u64 multiply_divide(u64 a, u64 b, u64 divisor, u64 *result) {
    u64 high, low;
    wide_multiply(a, b, &high, &low);
    if (divisor == 0) return ERROR_DivisionByZero;
    if (high >= divisor) return ERROR_OverflowError;
    *result = wide_divide(high, low, divisor);
    return 0;
}

INLINE u64 multiply(u64 a, u64 b, u64 *result) { return multiply_divide(a, b, ONE, result); }
INLINE u64 divide(u64 a, u64 b, u64 *result) { return multiply_divide(a, ONE, b, result); }

INLINE u64 add(u64 a, u64 b, u64 *result) {
    *result = a + b;
    return *result < a ? ERROR_OverflowError : 0;
}

INLINE u64 subtract(u64 a, u64 b, u64 *result) {
    *result = a - b;
    return a < b ? ERROR_UnderflowError : 0;
}

/* e to the x, by its (2, 2) Padé fraction */
static u64 exponential(u64 x, u64 *result) {
    if (x > MAX_EXPONENT) return ERROR_ExponentTooLarge;
    u64 square;
    TRY(multiply(x, x, &square));
    return divide(ONE + x / 2 + square / 12, ONE + square / 12 - x / 2, result);
}

/* ln(x) for x >= 1: powers of two taken out, the rest by 2 artanh */
static u64 logarithm(u64 x, u64 *result) {
    u64 doublings = 0, y, square, cube, fifth;
    for (; x >= 2 * ONE; x /= 2) doublings++;
    TRY(divide(x - ONE, x + ONE, &y));
    TRY(multiply(y, y, &square));
    TRY(multiply(square, y, &cube));
    TRY(multiply(cube, square, &fifth));
    *result = 2 * (y + cube / 3 + fifth / 5) + doublings * LN_2;
    return 0;
}

/* What the market has taken in at these shares, up to a constant */
static u64 curve_cost(u64 yes, u64 no, u64 b, u64 *result) {
    u64 x, y, tail, sum;
    TRY(divide(yes, b, &x));
    TRY(divide(no, b, &y));
    u64 larger = x > y ? x : y;
    TRY(exponential(x > y ? x - y : y - x, &tail));
    TRY(divide(ONE, tail, &tail));
    TRY(logarithm(ONE + tail, &tail));
    TRY(add(larger, tail, &sum));
    return multiply(b, sum, result);
}

static u64 price_of_yes(u64 yes, u64 no, u64 b, u64 *result) {
    u64 ratio;
    if (b < MIN_B) return ERROR_InvalidBParameter;
    TRY(divide(yes > no ? yes - no : no - yes, b, &ratio));
    TRY(exponential(ratio, &ratio));
    return divide(yes >= no ? ratio : ONE, ratio + ONE, result);
}

typedef struct {
    u64 yes, no, b;
} Curve;

static u64 cost_after_buying(const Curve *curve, u8 outcome, u64 shares, u64 *result) {
    u64 yes = curve->yes, no = curve->no;
    if (outcome) {
        TRY(add(yes, shares, &yes));
    } else {
        TRY(add(no, shares, &no));
    }
    return curve_cost(yes, no, curve->b, result);
}

/* The shares whose cost is nearest below the target, found by bisection, and that cost */
static u64 quote_buy(const Curve *curve, u8 outcome, u64 target, u64 *cost, u64 *shares) {
    u64 before, low = 0, high, after, price;
    if (curve->b < MIN_B) return ERROR_InvalidBParameter;
    TRY(curve_cost(curve->yes, curve->no, curve->b, &before));
    if (curve->b > ~0ul / 20) return ERROR_OverflowError;
    high = 20 * curve->b;
    for (u64 round = 0; round < SEARCH_ROUNDS && high - low > SEARCH_RESOLUTION; round++) {
        u64 middle = low + (high - low) / 2;
        TRY(cost_after_buying(curve, outcome, middle, &after));
        TRY(subtract(after, before, &price));
        if (price == target) {
            low = middle;
            break;
        }
        if (price < target) low = middle + 1;
        else high = middle;
    }
    TRY(cost_after_buying(curve, outcome, low, &after));
    *shares = low;
    return subtract(after, before, cost);
}

static u64 quote_sell(const Curve *curve, u8 outcome, u64 shares, u64 *proceeds) {
    u64 before, after, yes = curve->yes, no = curve->no;
    if (curve->b < MIN_B) return ERROR_InvalidBParameter;
    if (shares > (outcome ? yes : no)) return ERROR_InsufficientShares;
    TRY(curve_cost(yes, no, curve->b, &before));
    if (outcome) yes -= shares;
    else no -= shares;
    TRY(curve_cost(yes, no, curve->b, &after));
    return subtract(before, after, proceeds);
}

typedef struct {
    u64 protocol, resolver, provider, total;
} Fees;

/* Basis points of an amount; what rounding leaves of the total is the liquidity provider's */
static u64 split_fees(u64 amount, const u16 *bps, Fees *fees) {
    u64 total_bps = (u64)bps[0] + bps[1] + bps[2];
    fees->protocol = fees->resolver = fees->provider = fees->total = 0;
    if (total_bps == 0) return 0;
    TRY(multiply_divide(amount, total_bps, 10000, &fees->total));
    TRY(multiply_divide(fees->total, bps[0], total_bps, &fees->protocol));
    TRY(multiply_divide(fees->total, bps[1], total_bps, &fees->resolver));
    fees->provider = fees->total - fees->protocol - fees->resolver;
    return 0;
}
