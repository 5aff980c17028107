/* What Solana's virtual machine gives a program: its input, and syscalls. */
#pragma once
#include "borsh.h"
#include "types.h"

#define MOST_REALLOCATION_BYTES 10240
#define UNSEEN_ACCOUNT 0xff

/* The layouts of these are the runtime's. */
typedef struct {
    Pubkey *key;
    u64 *lamports;
    u64 data_length;
    u8 *data;
    Pubkey *owner;
    u64 rent_epoch;
    bool is_signer, is_writable, is_executable;
} Account;

typedef struct {
    const Pubkey *key;
    bool is_writable, is_signer;
} AccountMeta;

typedef struct {
    const Pubkey *program;
    const AccountMeta *accounts;
    u64 account_count;
    const u8 *data;
    u64 data_length;
} Call;

typedef struct {
    const void *bytes;
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
    u64 exemption_threshold_bits; /* an IEEE 754 double: years */
    u8 burn_percent;
} Rent;

void sol_log_(const char *text, u64 length);
void sol_log_pubkey(const Pubkey *key);
void sol_log_data(const Slice *slices, u64 count);
u64 sol_get_clock_sysvar(Clock *clock);
u64 sol_get_rent_sysvar(Rent *rent);
u64 sol_create_program_address(const Slice *seeds, u64 count, const Pubkey *program, Pubkey *address);
u64 sol_try_find_program_address(const Slice *seeds, u64 count, const Pubkey *program, Pubkey *address, u8 *bump);
u64 sol_invoke_signed_c(const Call *call, const Account *accounts, int account_count, const Slice *signers, int count);
void sol_memset_(void *bytes, u8 value, u64 count);

INLINE void log_data(const void *bytes, u64 length) { sol_log_data(&(Slice){bytes, length}, 1); }

/* What the runtime called the program with. Accounts after the first `most` are skipped. */
typedef struct {
    u64 account_count;
    Reader data;
    const Pubkey *program;
} Input;

static Input read_input(u8 *in, Account *accounts, u64 most) {
    u64 count = *(u64 *)in;
    in += 8;
    for (u64 i = 0; i < count; i++) {
        if (*in != UNSEEN_ACCOUNT) { /* the number of an earlier one that is the same */
            if (i < most) accounts[i] = accounts[*in];
            in += 8;
            continue;
        }
        u64 data_length = *(u64 *)(in + 80);
        if (i < most) {
            accounts[i] = (Account){
                .is_signer = in[1],
                .is_writable = in[2],
                .is_executable = in[3],
                .key = (Pubkey *)(in + 8),
                .owner = (Pubkey *)(in + 40),
                .lamports = (u64 *)(in + 72),
                .data_length = data_length,
                .data = in + 88,
            };
        }
        in += 88 + data_length + MOST_REALLOCATION_BYTES;
        in += -(u64)in & 7;
        if (i < most) accounts[i].rent_epoch = *(u64 *)in;
        in += 8;
    }
    u64 data_length = *(u64 *)in;
    in += 8;
    return (Input){count, {in, in + data_length}, (const Pubkey *)(in + data_length)};
}
