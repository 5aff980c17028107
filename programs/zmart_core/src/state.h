/* The program's accounts as C structs, and their Borsh form. Optional fields make the layout move, so accounts are
   read whole and written whole. */
#pragma once

enum { PROPOSED, APPROVED, ACTIVE, RESOLVING, DISPUTED, FINALIZED, CANCELLED };
enum { NONE, SOME_FALSE, SOME_TRUE }; /* option<bool> */

#define CONFIG_SIZE (8 + 8 + 190)
#define MARKET_SIZE (8 + 480)
#define POSITION_SIZE 182
#define VOTE_SIZE 83
#define CID_LENGTH 46

typedef struct {
    Pubkey admin, backend_authority, fee_wallet;
    u16 fee_bps[3]; /* protocol, resolver, liquidity provider */
    u16 approval_threshold, dispute_threshold;
    i64 min_resolution_delay, dispute_period;
    u16 min_resolver_reputation;
    u8 is_paused, bump;
} Config;

typedef struct {
    u8 id[32];
    Pubkey creator, resolver, dispute_initiator;
    u64 b, initial_liquidity, current_liquidity, shares_yes, shares_no, total_volume;
    i64 created_at, approved_at, activated_at, resolution_proposed_at, resolved_at, finalized_at;
    i64 dispute_initiated_at, cancelled_at;
    u64 protocol_fees, resolver_fees, provider_fees;
    u32 proposal[3], resolution[3], dispute[3]; /* for, against, total */
    u64 claimed_shares, refundable; /* in the reserved bytes */
    u8 cid[CID_LENGTH];
    u8 state, proposed_outcome, final_outcome, was_disputed, is_cancelled, has_cancelled_at, is_locked, bump;
} Market;

typedef struct {
    Pubkey market, user;
    u64 shares_yes, shares_no, total_invested, claimed_amount;
    i64 last_trade_at;
    u64 total_returned; /* in the reserved bytes */
    u32 trades_count;
    u8 has_claimed, bump;
} Position;

/* One direction of a walk over an account's fields. */
typedef struct {
    u8 *at;
    u8 is_writing, is_broken;
} Cursor;

INLINE void field(Cursor *cursor, void *value, u64 size) {
    const void *from = cursor->is_writing ? value : cursor->at;
    void *to = cursor->is_writing ? cursor->at : value;
    if (size == 1) *(u8 *)to = *(const u8 *)from;
    else if (size == 2) SET16(to, GET16(from));
    else if (size == 4) SET32(to, GET32(from));
    else if (size == 8) SET64(to, GET64(from));
    else sol_memcpy_(to, from, size);
    cursor->at += size;
}
#define FIELD(cursor, value) field(cursor, &(value), sizeof(value))

/* Bytes that are kept zero: when an option before them grows, what was behind them moves into them. */
static void reserved(Cursor *cursor, u64 size) {
    if (cursor->is_writing) sol_memset_(cursor->at, 0, size);
    cursor->at += size;
}

INLINE void flag(Cursor *cursor, u8 *value) {
    field(cursor, value, 1);
    if (*value > 1) cursor->is_broken = 1;
}

static void optional_flag(Cursor *cursor, u8 *value) {
    if (cursor->is_writing) {
        *cursor->at++ = *value != NONE;
        if (*value != NONE) *cursor->at++ = *value == SOME_TRUE;
        return;
    }
    u8 tag = *cursor->at++;
    *value = NONE;
    if (tag > 1) cursor->is_broken = 1;
    if (tag == 1) {
        u8 given = *cursor->at++;
        if (given > 1) cursor->is_broken = 1;
        *value = given ? SOME_TRUE : SOME_FALSE;
    }
}

static void walk_config(Cursor *cursor, Config *config) {
    FIELD(cursor, config->admin);
    FIELD(cursor, config->backend_authority);
    FIELD(cursor, config->fee_wallet);
    FIELD(cursor, config->fee_bps);
    FIELD(cursor, config->approval_threshold);
    FIELD(cursor, config->dispute_threshold);
    FIELD(cursor, config->min_resolution_delay);
    FIELD(cursor, config->dispute_period);
    FIELD(cursor, config->min_resolver_reputation);
    flag(cursor, &config->is_paused);
    reserved(cursor, 64);
    FIELD(cursor, config->bump);
}

static void walk_market(Cursor *cursor, Market *market) {
    FIELD(cursor, market->id);
    FIELD(cursor, market->creator);
    FIELD(cursor, market->state);
    FIELD(cursor, market->b);
    FIELD(cursor, market->initial_liquidity);
    FIELD(cursor, market->current_liquidity);
    FIELD(cursor, market->shares_yes);
    FIELD(cursor, market->shares_no);
    FIELD(cursor, market->total_volume);
    FIELD(cursor, market->created_at);
    FIELD(cursor, market->approved_at);
    FIELD(cursor, market->activated_at);
    FIELD(cursor, market->resolution_proposed_at);
    FIELD(cursor, market->resolved_at);
    FIELD(cursor, market->finalized_at);
    FIELD(cursor, market->resolver);
    optional_flag(cursor, &market->proposed_outcome);
    optional_flag(cursor, &market->final_outcome);
    FIELD(cursor, market->cid);
    FIELD(cursor, market->dispute_initiated_at);
    FIELD(cursor, market->dispute_initiator);
    FIELD(cursor, market->protocol_fees);
    FIELD(cursor, market->resolver_fees);
    FIELD(cursor, market->provider_fees);
    FIELD(cursor, market->proposal);
    FIELD(cursor, market->resolution);
    FIELD(cursor, market->dispute);
    flag(cursor, &market->was_disputed);
    flag(cursor, &market->is_cancelled);
    flag(cursor, &market->has_cancelled_at);
    if (market->has_cancelled_at) FIELD(cursor, market->cancelled_at);
    flag(cursor, &market->is_locked);
    FIELD(cursor, market->claimed_shares);
    FIELD(cursor, market->refundable);
    reserved(cursor, 119 - 16);
    FIELD(cursor, market->bump);
}

static void walk_position(Cursor *cursor, Position *position) {
    FIELD(cursor, position->market);
    FIELD(cursor, position->user);
    FIELD(cursor, position->shares_yes);
    FIELD(cursor, position->shares_no);
    FIELD(cursor, position->total_invested);
    FIELD(cursor, position->trades_count);
    FIELD(cursor, position->last_trade_at);
    flag(cursor, &position->has_claimed);
    FIELD(cursor, position->claimed_amount);
    FIELD(cursor, position->total_returned);
    reserved(cursor, 64 - 8);
    FIELD(cursor, position->bump);
}

#define NAME(text) {text, sizeof(text) - 1}

static u64 load_config(const Context *context, const Account *account, Config *config) {
    static const Slice name = NAME("global_config");
    TRY(check_owned(context, account, ACCOUNT_GlobalConfig, 8 + 190, &name));
    Cursor cursor = {account->data + 8, 0, 0};
    walk_config(&cursor, config);
    if (cursor.is_broken) return BLAME(AccountDidNotDeserialize, "global_config");
    Slice seeds[2] = {NAME("global-config"), {&config->bump, 1}};
    if (!is_derived(context, seeds, 2, account->key)) return BLAME(ConstraintSeeds, "global_config");
    return 0;
}

static u64 load_market(const Context *context, const Account *account, Market *market) {
    static const Slice name = NAME("market");
    TRY(check_owned(context, account, ACCOUNT_MarketAccount, MARKET_SIZE, &name));
    Cursor cursor = {account->data + 8, 0, 0};
    walk_market(&cursor, market);
    if (cursor.is_broken || market->state > CANCELLED) return BLAME(AccountDidNotDeserialize, "market");
    Slice seeds[3] = {NAME("market"), {market->id, 32}, {&market->bump, 1}};
    if (!is_derived(context, seeds, 3, account->key)) return BLAME(ConstraintSeeds, "market");
    return 0;
}

static u64 load_position(const Context *context, const Account *account, const Account *market, const Account *user,
                         Position *position) {
    static const Slice name = NAME("position");
    TRY(check_owned(context, account, ACCOUNT_UserPosition, POSITION_SIZE, &name));
    Cursor cursor = {account->data + 8, 0, 0};
    walk_position(&cursor, position);
    if (cursor.is_broken) return BLAME(AccountDidNotDeserialize, "position");
    Slice seeds[4] = {NAME("position"), {market->key, 32}, {user->key, 32}, {&position->bump, 1}};
    if (!is_derived(context, seeds, 4, account->key)) return BLAME(ConstraintSeeds, "position");
    return 0;
}

static void store_config(const Account *account, Config *config) {
    Cursor cursor = {account->data + 8, 1, 0};
    SET64(account->data, ACCOUNT_GlobalConfig);
    walk_config(&cursor, config);
}

static void store_market(const Account *account, Market *market) {
    Cursor cursor = {account->data + 8, 1, 0};
    SET64(account->data, ACCOUNT_MarketAccount);
    walk_market(&cursor, market);
}

static void store_position(const Account *account, Position *position) {
    Cursor cursor = {account->data + 8, 1, 0};
    SET64(account->data, ACCOUNT_UserPosition);
    walk_position(&cursor, position);
}

static i64 now(void) {
    Clock clock;
    sol_get_clock_sysvar(&clock);
    return clock.unix_timestamp;
}

/* An event: its discriminator and fields, in one line of log data. */
typedef struct {
    u8 bytes[160];
    u64 length;
} Event;

INLINE void put64(Event *event, u64 value) {
    SET64(event->bytes + event->length, value);
    event->length += 8;
}
INLINE void put32(Event *event, u32 value) {
    SET32(event->bytes + event->length, value);
    event->length += 4;
}
INLINE void put8(Event *event, u8 value) { event->bytes[event->length++] = value; }
INLINE void put_key(Event *event, const void *key) {
    *(Pubkey *)(event->bytes + event->length) = *(const Pubkey *)key;
    event->length += 32;
}
INLINE void put_option(Event *event, u8 value) {
    put8(event, value != NONE);
    if (value != NONE) put8(event, value == SOME_TRUE);
}
INLINE void begin(Event *event, u64 discriminator) {
    event->length = 0;
    put64(event, discriminator);
}
static u64 emit(const Event *event) {
    Slice line = {event->bytes, event->length};
    sol_log_data(&line, 1);
    return 0;
}
