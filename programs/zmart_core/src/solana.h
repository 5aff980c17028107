/* What a program needs of the Solana runtime: types, system calls, and the serialized input. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#define INLINE static inline __attribute__((always_inline))

typedef u64 __attribute__((aligned(1), may_alias)) packed_u64;
typedef u32 __attribute__((aligned(1), may_alias)) packed_u32;
typedef u16 __attribute__((aligned(1), may_alias)) packed_u16;
#define GET64(at) (*(const packed_u64 *)(at))
#define SET64(at, value) (*(packed_u64 *)(at) = (u64)(value))
#define GET32(at) (*(const packed_u32 *)(at))
#define SET32(at, value) (*(packed_u32 *)(at) = (u32)(value))
#define GET16(at) (*(const packed_u16 *)(at))
#define SET16(at, value) (*(packed_u16 *)(at) = (u16)(value))

typedef struct {
    packed_u64 word[4];
} Pubkey;

/* An account as sol_invoke_signed_c wants it. */
typedef struct {
    Pubkey *key;
    u64 *lamports;
    u64 data_length;
    u8 *data;
    Pubkey *owner;
    u64 rent_epoch;
    u8 is_signer, is_writable, is_executable;
} Account;

typedef struct {
    Pubkey *key;
    u8 is_writable, is_signer;
} AccountMeta;

typedef struct {
    const Pubkey *program;
    AccountMeta *accounts;
    u64 account_count;
    const u8 *data;
    u64 data_length;
} Instruction;

typedef struct {
    const void *at;
    u64 length;
} Slice;

typedef struct {
    u64 slot;
    i64 epoch_start_timestamp;
    u64 epoch, leader_schedule_epoch;
    i64 unix_timestamp;
} Clock;

typedef struct {
    u64 lamports_per_byte_year;
    u64 exemption_threshold_bits; /* an IEEE 754 double, which this target cannot compute with */
    u8 burn_percent;
} Rent;

void sol_log_(const char *, u64);
void sol_log_data(const Slice *, u64);
u64 sol_get_clock_sysvar(Clock *);
u64 sol_get_rent_sysvar(Rent *);
u64 sol_try_find_program_address(const Slice *, u64, const Pubkey *, Pubkey *, u8 *);
u64 sol_create_program_address(const Slice *, u64, const Pubkey *, Pubkey *);
u64 sol_invoke_signed_c(const Instruction *, const Account *, int, const Slice *, int);
void sol_memcpy_(void *, const void *, u64);
void sol_memset_(void *, u8, u64);

#define LOG(text) sol_log_(text, sizeof(text) - 1)

INLINE int same_key(const Pubkey *a, const Pubkey *b) {
    return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
             (a->word[3] ^ b->word[3]));
}

#define MAX_ACCOUNTS 8

/* One invocation: its accounts, its instruction data and the program's own address. */
typedef struct {
    Account account[MAX_ACCOUNTS];
    u64 count;
    const u8 *data;
    u64 data_length;
    const Pubkey *program;
} Context;

#define MAX_DATA_INCREASE 10240

/* Reads the runtime's input. Accounts past MAX_ACCOUNTS are skipped; no instruction takes that many. */
static void read_input(u8 *input, Context *context) {
    u64 given = GET64(input);
    input += 8;
    context->count = given < MAX_ACCOUNTS ? given : MAX_ACCOUNTS;
    for (u64 i = 0; i < given; i++) {
        u8 duplicate_of = input[0];
        if (duplicate_of != 0xff) {
            if (i < MAX_ACCOUNTS) context->account[i] = context->account[duplicate_of & (MAX_ACCOUNTS - 1)];
            input += 8;
            continue;
        }
        u64 length = GET64(input + 80);
        if (i < MAX_ACCOUNTS) {
            Account *account = &context->account[i];
            account->is_signer = input[1];
            account->is_writable = input[2];
            account->is_executable = input[3];
            account->key = (Pubkey *)(input + 8);
            account->owner = (Pubkey *)(input + 40);
            account->lamports = (u64 *)(input + 72);
            account->data_length = length;
            account->data = input + 88;
        }
        input += 88 + length + MAX_DATA_INCREASE;
        input = (u8 *)(((u64)input + 7) & ~7ul);
        if (i < MAX_ACCOUNTS) context->account[i].rent_epoch = GET64(input);
        input += 8;
    }
    context->data_length = GET64(input);
    context->data = input + 8;
    context->program = (const Pubkey *)(input + 8 + context->data_length);
}
