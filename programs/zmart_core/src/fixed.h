/* Unsigned fixed point with nine decimals, every division truncated.
 *
 * The virtual machine divides 64 bits by 64 bits and knows nothing wider, and the compiler's 128-bit helpers do
 * not link here; so products and quotients of 128 bits are put together from halves. */
#pragma once
#include "interface.h"

#define ONE 1000000000ull
#define LN_2 693147180ull
#define LARGEST_EXPONENT (20 * ONE)

typedef struct {
    u64 high, low;
} Wide;

INLINE Wide wide_product(u64 a, u64 b) {
    u64 a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    u64 low = a0 * b0, left = a1 * b0, right = a0 * b1;
    u64 middle = (low >> 32) + (left & 0xffffffff) + (right & 0xffffffff);
    return (Wide){a1 * b1 + (left >> 32) + (right >> 32) + (middle >> 32), middle << 32 | (low & 0xffffffff)};
}

/* One digit of base 2^32 of n / d, for d with its highest bit set and n = (high, next) < d * 2^32 (Knuth's D). */
INLINE u64 quotient_digit(u64 high, u64 next, u64 d) {
    u64 d1 = d >> 32, d0 = d & 0xffffffff;
    u64 digit = high / d1, rest = high % d1;
    while (digit >> 32 || digit * d0 > (rest << 32 | next)) {
        digit--;
        rest += d1;
        if (rest >> 32) break;
    }
    return digit;
}

/* n / d for n.high < d. */
static u64 wide_quotient(const Wide *n, u64 d) {
    u64 high = n->high, low = n->low;
    if (!high) return low / d;
    if (!(d >> 32)) { /* the remainders are below 2^32 as well */
        u64 upper = high << 32 | low >> 32;
        return (upper / d) << 32 | ((upper % d) << 32 | (low & 0xffffffff)) / d;
    }
    u64 shift = 0;
    for (u64 step = 16; step; step >>= 1) {
        if (!(d >> (64 - step))) {
            d <<= step;
            shift += step;
        }
    }
    if (shift) {
        high = high << shift | low >> (64 - shift);
        low <<= shift;
    }
    u64 upper = quotient_digit(high, low >> 32, d);
    u64 rest = (high << 32 | low >> 32) - upper * d;
    return upper << 32 | quotient_digit(rest, low & 0xffffffff, d);
}

/* a * b / divisor */
static Error ratio(u64 a, u64 b, u64 divisor, u64 *out) {
    Wide product = wide_product(a, b);
    REQUIRE(divisor, E_DivisionByZero);
    REQUIRE(product.high < divisor, E_OverflowError);
    *out = wide_quotient(&product, divisor);
    return OK;
}

INLINE Error multiplied(u64 a, u64 b, u64 *out) { return ratio(a, b, ONE, out); }

INLINE Error divided(u64 a, u64 b, u64 *out) { return ratio(a, ONE, b, out); }

INLINE Error sum(u64 a, u64 b, u64 *out) { return __builtin_add_overflow(a, b, out) ? E_OverflowError : OK; }

INLINE Error difference(u64 a, u64 b, u64 *out) { return __builtin_sub_overflow(a, b, out) ? E_UnderflowError : OK; }

/* e^x by its (2, 2) Pade fraction; the denominator is positive for every x. */
static Error exponential(u64 x, u64 *out) {
    REQUIRE(x <= LARGEST_EXPONENT, E_ExponentTooLarge);
    u64 square;
    TRY(multiplied(x, x, &square));
    u64 half = x / 2, twelfth = square / 12;
    return divided(ONE + half + twelfth, ONE + twelfth - half, out);
}

/* The natural logarithm of x >= 1.0: powers of two taken out, the rest by 2 artanh to the fifth order. */
static Error logarithm(u64 x, u64 *out) {
    REQUIRE(x >= ONE, E_InvalidLogarithm);
    u64 doublings = 0;
    for (; x >= 2 * ONE; x /= 2) doublings++;
    u64 y, square, cube, fifth;
    TRY(divided(x - ONE, x + ONE, &y));
    TRY(multiplied(y, y, &square));
    TRY(multiplied(square, y, &cube));
    TRY(multiplied(cube, square, &fifth));
    *out = 2 * (y + cube / 3 + fifth / 5) + doublings * LN_2;
    return OK;
}
