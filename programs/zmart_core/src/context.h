/* One instruction while it runs: its accounts under their IDL names, decoded where they are the program's own. */
#pragma once
#include "errors.h"

#define NOBODY ROLE_COUNT

#define MOST_SEEDS 5

/* What an address is derived from. The last is the bump, once it is known. */
typedef struct {
    Slice slices[MOST_SEEDS];
    u64 count;
    u8 bump;
} Seeds;

typedef struct {
    const Pubkey *program;
    Account given[MOST_ACCOUNTS];
    u64 given_count;
    Account *accounts[ROLE_COUNT]; /* those that the instruction names */
    Arguments arguments;
    i64 now; /* unix seconds on the chain's clock */

    GlobalConfig config;
    MarketAccount market;
    UserPosition position;
    Seeds made; /* of the account that the instruction makes */

    /* For the log line of an error. */
    u8 blamed;
    bool has_keys;
    Pubkey found, expected;
} Context;

INLINE Account *account(const Context *c, u8 role) { return c->accounts[role]; }

INLINE const Pubkey *key_of(const Context *c, u8 role) { return c->accounts[role]->key; }

/* Fails with `error`, caused by an account. */
static Error blame(Context *c, u8 role, Error error) {
    c->blamed = role;
    return error;
}

/* The same, telling which key was found and which expected. */
static Error blame_key(Context *c, u8 role, Error error, const Pubkey *found, const Pubkey *expected) {
    c->has_keys = true;
    c->found = *found;
    c->expected = *expected;
    return blame(c, role, error);
}

static Error require_key(Context *c, u8 role, const Pubkey *expected, Error error) {
    if (same_key(key_of(c, role), expected)) return OK;
    return blame_key(c, role, error, key_of(c, role), expected);
}

static void log_failure(const Context *c, Error error) {
    log_error(error, c->blamed == NOBODY ? 0 : &ROLE_NAMES[c->blamed]);
    if (!c->has_keys) return;
    sol_log_("Left:", 5);
    sol_log_pubkey(&c->found);
    sol_log_("Right:", 6);
    sol_log_pubkey(&c->expected);
}
