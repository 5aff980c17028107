/* Addresses derived from seeds, and the rent of what is there. */
#pragma once
#include "context.h"
#include "fixed.h"

#define LITERAL_SEED(literal) {literal, sizeof(literal) - 1}
#define KEY_SEED(key) {(key)->words, sizeof(Pubkey)}

#define CONFIG_SEEDS() (&(Seeds){{LITERAL_SEED("global-config")}, 1, 0})
#define MARKET_SEEDS(id) (&(Seeds){{LITERAL_SEED("market"), {(id)->bytes, sizeof(Bytes32)}}, 2, 0})
#define POSITION_SEEDS(market, user) (&(Seeds){{LITERAL_SEED("position"), KEY_SEED(market), KEY_SEED(user)}, 3, 0})
#define VOTE_SEEDS(market, user, type)                                                                                 \
    (&(Seeds){{LITERAL_SEED("vote"), KEY_SEED(market), KEY_SEED(user), {type, sizeof(VoteType)}}, 4, 0})

INLINE void add_bump(Seeds *seeds, u8 bump) {
    seeds->bump = bump;
    seeds->slices[seeds->count++] = (Slice){&seeds->bump, 1};
}

/* An account must be at the address that the seeds and the bump it remembers give. */
static Error require_address(Context *c, u8 role, Seeds *seeds, u8 bump) {
    Pubkey expected;
    add_bump(seeds, bump);
    if (sol_create_program_address(seeds->slices, seeds->count, c->program, &expected))
        return blame(c, role, E_ConstraintSeeds);
    return require_key(c, role, &expected, E_ConstraintSeeds);
}

/* An account that the instruction makes must be at the address that its seeds find. */
static Error require_new_address(Context *c, u8 role) {
    Seeds *seeds = &c->made;
    Pubkey expected;
    u8 bump;
    if (sol_try_find_program_address(seeds->slices, seeds->count, c->program, &expected, &bump))
        return blame(c, role, E_ConstraintSeeds);
    add_bump(seeds, bump);
    return require_key(c, role, &expected, E_ConstraintSeeds);
}

/* The least that an account of `bytes` must hold to stay. */
static u64 rent_minimum(u64 bytes) {
    enum { ACCOUNT_OVERHEAD_BYTES = 128, MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
    Rent rent;
    sol_get_rent_sysvar(&rent);
    /* The threshold of so many years is a double: mantissa * 2^-fraction_bits. It is 2.0, or 1.0 on newer clusters. */
    u64 threshold = rent.exemption_threshold_bits;
    u64 mantissa = (threshold & ((1ull << MANTISSA_BITS) - 1)) | 1ull << MANTISSA_BITS;
    u64 fraction_bits = EXPONENT_BIAS + MANTISSA_BITS - (threshold >> MANTISSA_BITS);
    Wide product = wide_product((ACCOUNT_OVERHEAD_BYTES + bytes) * rent.lamports_per_byte_year, mantissa);
    return product.high << (64 - fraction_bits) | product.low >> fraction_bits;
}
