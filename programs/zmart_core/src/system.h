/* The system program: moving a wallet's lamports, and making accounts at derived addresses. */
#pragma once
#include "addresses.h"

enum { SYSTEM_CREATE_ACCOUNT = 0, SYSTEM_ASSIGN = 1, SYSTEM_TRANSFER = 2, SYSTEM_ALLOCATE = 8 };

static const Pubkey SYSTEM_PROGRAM = {{0}};

typedef struct {
    AccountMeta accounts[2];
    u64 account_count;
    u8 data[52];
    Writer end;
    const Slice *signer; /* the seeds of an account of the program's that signs, or null */
} SystemCall;

static void begin_system_call(SystemCall *call, u32 instruction) {
    call->account_count = 0;
    call->signer = 0;
    call->end.at = call->data;
    write_u32(&call->end, &instruction);
}

INLINE void add_signer(SystemCall *call, const Pubkey *key) {
    call->accounts[call->account_count++] = (AccountMeta){key, true, true};
}

/* A failure of the system program ends the transaction with its own error. */
static Error run_system_call(const Context *c, const SystemCall *call) {
    Call raw = {&SYSTEM_PROGRAM, call->accounts, call->account_count, call->data, (u64)(call->end.at - call->data)};
    return sol_invoke_signed_c(&raw, c->given, (int)c->given_count, call->signer, call->signer ? 1 : 0);
}

static Error transfer(const Context *c, u8 from, u8 to, u64 lamports) {
    if (!lamports) return OK;
    SystemCall call;
    begin_system_call(&call, SYSTEM_TRANSFER);
    write_u64(&call.end, &lamports);
    add_signer(&call, key_of(c, from));
    call.accounts[call.account_count++] = (AccountMeta){key_of(c, to), true, false};
    return run_system_call(c, &call);
}

static Error create_empty(const Context *c, u8 payer, u8 role, u64 bytes, const Slice *signer) {
    SystemCall call;
    begin_system_call(&call, SYSTEM_CREATE_ACCOUNT);
    write_u64(&call.end, &(u64){rent_minimum(bytes)});
    write_u64(&call.end, &bytes);
    write_pubkey(&call.end, c->program);
    add_signer(&call, key_of(c, payer));
    add_signer(&call, key_of(c, role));
    call.signer = signer;
    return run_system_call(c, &call);
}

static Error allocate(const Context *c, u8 role, u64 bytes, const Slice *signer) {
    SystemCall call;
    begin_system_call(&call, SYSTEM_ALLOCATE);
    write_u64(&call.end, &bytes);
    add_signer(&call, key_of(c, role));
    call.signer = signer;
    return run_system_call(c, &call);
}

static Error assign_to_program(const Context *c, u8 role, const Slice *signer) {
    SystemCall call;
    begin_system_call(&call, SYSTEM_ASSIGN);
    write_pubkey(&call.end, c->program);
    add_signer(&call, key_of(c, role));
    call.signer = signer;
    return run_system_call(c, &call);
}

/* Makes the instruction's new account: rent-exempt, of `bytes`, at the address that has been checked.
 *
 * Anybody may have sent lamports to the address before, which create_account refuses: the payer then adds what is
 * missing. An account that exists makes the system program fail with "already in use". */
static Error create_account(const Context *c, u8 payer, u8 role, u64 bytes) {
    Slice signer = {c->made.slices, c->made.count};
    u64 held = *account(c, role)->lamports;
    if (!held) return create_empty(c, payer, role, bytes, &signer);
    u64 rent = rent_minimum(bytes);
    if (held < rent) TRY(transfer(c, payer, role, rent - held));
    TRY(allocate(c, role, bytes, &signer));
    return assign_to_program(c, role, &signer);
}
