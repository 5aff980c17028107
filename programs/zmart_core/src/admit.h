/* What Anchor checks before an instruction runs: every account it is given, one by one.
 *
 * First that all are there and are what their names say, in the order of the IDL; then that they are writable where
 * they must be, and at the addresses that their contents give, or, of an account that is yet to be made, its seeds. */
#pragma once
#include "system.h"

#define MARKET_BYTES (8 + 480)
#define CONFIG_BYTES (8 + ENCODED_BYTES_GlobalConfig)
#define POSITION_BYTES 182
#define VOTE_BYTES 83

_Static_assert(ENCODED_BYTES_MarketAccount <= MARKET_BYTES, "a market fits its account");
_Static_assert(ENCODED_BYTES_UserPosition <= POSITION_BYTES, "a position fits its account");
_Static_assert(ENCODED_BYTES_VoteRecord <= VOTE_BYTES, "a vote fits its account");

/* A reader of the fields of an account that must be the program's, and of the kind that the discriminator names. */
static Error open_account(Context *c, u8 role, u64 discriminator, Reader *out) {
    const Account *it = account(c, role);
    u64 found;
    if (!same_key(it->owner, c->program)) {
        bool exists = *it->lamports || !same_key(it->owner, &SYSTEM_PROGRAM);
        if (!exists) return blame(c, role, E_AccountNotInitialized);
        return blame_key(c, role, E_AccountOwnedByWrongProgram, it->owner, c->program);
    }
    *out = (Reader){it->data, it->data + it->data_length};
    if (!read_u64(out, &found)) return blame(c, role, E_AccountDiscriminatorNotFound);
    if (found != discriminator) return blame(c, role, E_AccountDiscriminatorMismatch);
    return OK;
}

static Error load(Context *c, u8 role) {
    Reader in;
    bool readable = true;
    switch (role) {
    case ROLE_global_config:
        TRY(open_account(c, role, DISCRIMINATOR_GlobalConfig, &in));
        readable = read_GlobalConfig(&in, &c->config);
        break;
    case ROLE_market:
        TRY(open_account(c, role, DISCRIMINATOR_MarketAccount, &in));
        readable = read_MarketAccount(&in, &c->market);
        break;
    case ROLE_position:
        TRY(open_account(c, role, DISCRIMINATOR_UserPosition, &in));
        readable = read_UserPosition(&in, &c->position);
        break;
    }
    return readable ? OK : blame(c, role, E_AccountDidNotDeserialize);
}

static Error check_address(Context *c, u8 role) {
    switch (role) {
    case ROLE_global_config:
        return require_address(c, role, CONFIG_SEEDS(), c->config.bump);
    case ROLE_market:
        return require_address(c, role, MARKET_SEEDS(&c->market.market_id), c->market.bump);
    case ROLE_position:
        return require_address(c, role, POSITION_SEEDS(key_of(c, ROLE_market), key_of(c, ROLE_user)),
                               c->position.bump);
    }
    return OK;
}

/* Tells the seeds of the account that an instruction makes. */
typedef void (*SeedsOf)(const Context *, Seeds *);

/* Whether there is a position already: purchases after the first make none. */
static bool has_position(const Context *c) { return same_key(account(c, ROLE_position)->owner, c->program); }

static Error admit_created(Context *c, u8 role, SeedsOf seeds_of) {
    if (role == ROLE_position && has_position(c)) {
        TRY(load(c, role));
        return check_address(c, role);
    }
    seeds_of(c, &c->made);
    return require_new_address(c, role);
}

/* `created` is the account that the instruction itself makes, if any: its contents are not there to be checked. */
static Error admit(Context *c, const Rule *rules, u64 count, u8 created, SeedsOf seeds_of) {
    for (u64 i = 0; i < count; i++) {
        const Rule *rule = &rules[i];
        if (i >= c->given_count) return blame(c, rule->role, E_AccountNotEnoughKeys);
        c->accounts[rule->role] = &c->given[i];
        if (rule->signs && !c->given[i].is_signer) return blame(c, rule->role, E_AccountNotSigner);
        if (rule->role == ROLE_system_program)
            TRY(require_key(c, rule->role, &SYSTEM_PROGRAM, E_InvalidProgramId));
        if (rule->role != created) TRY(load(c, rule->role));
    }
    for (u64 i = 0; i < count; i++) {
        const Rule *rule = &rules[i];
        if (rule->writable && !c->given[i].is_writable) return blame(c, rule->role, E_ConstraintMut);
        TRY(rule->role == created ? admit_created(c, rule->role, seeds_of) : check_address(c, rule->role));
    }
    return OK;
}

/* Options change the length of what is written: the rest of the account is kept zero. */
#define SAVE(name, type, role, field, bytes)                                                                           \
    static void name(const Context *c) {                                                                               \
        u8 *data = account(c, role)->data;                                                                             \
        Writer out = {data};                                                                                           \
        write_u64(&out, &(u64){DISCRIMINATOR_##type});                                                                 \
        write_##type(&out, &c->field);                                                                                 \
        sol_memset_(out.at, 0, (u64)(data + (bytes)-out.at));                                                          \
    }

SAVE(save_config, GlobalConfig, ROLE_global_config, config, CONFIG_BYTES)
SAVE(save_market, MarketAccount, ROLE_market, market, MARKET_BYTES)
SAVE(save_position, UserPosition, ROLE_position, position, POSITION_BYTES)
