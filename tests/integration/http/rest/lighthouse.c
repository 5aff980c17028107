/* A stand-in for Lighthouse. Like it, it takes one byte for the instruction and one for the log level, and refuses an
 * instruction without data. What follows says what the test wants of it:
 *
 *   (nothing)     the assertion holds
 *   1             it does not
 *   2, u64 n      it betrays its wallet: n lamports of the first account go to the second
 *   3             it holds, for about 6,500 compute units, as many as one has taken on mainnet */
#include "runtime.h"

enum { HOLDS = 0, DOES_NOT_HOLD = 1, BETRAYS = 2, IS_LONG = 3 };
enum { ROUNDS = 1280, ASSERTION_FAILED = 6400, SYSTEM_TRANSFER = 2, MOST_ACCOUNTS = 4 };
static const Error INVALID_INSTRUCTION_DATA = 3ull << 32; /* the runtime's own */
static const Pubkey SYSTEM_PROGRAM = {{0}};

static Error pay(const Account *given, u64 count, u64 lamports) {
    AccountMeta metas[] = {{given[0].key, true, true}, {given[1].key, true, false}};
    u8 data[12];
    Writer out = {data};
    write_u32(&out, &(u32){SYSTEM_TRANSFER});
    write_u64(&out, &lamports);
    Call call = {&SYSTEM_PROGRAM, metas, 2, data, sizeof data};
    return sol_invoke_signed_c(&call, given, (int)count, 0, 0);
}

Error entrypoint(u8 *memory) {
    Account given[MOST_ACCOUNTS];
    Input input = read_input(memory, given, MOST_ACCOUNTS);
    u8 instruction, log_level, wanted = HOLDS;
    if (!read_u8(&input.data, &instruction) || !read_u8(&input.data, &log_level)) return INVALID_INSTRUCTION_DATA;
    read_u8(&input.data, &wanted);
    if (wanted == HOLDS) return OK;
    if (wanted == DOES_NOT_HOLD) return ASSERTION_FAILED;
    if (wanted == IS_LONG) {
        for (volatile u64 round = 0; round < ROUNDS; round++) {}
        return OK;
    }
    u64 lamports;
    if (!read_u64(&input.data, &lamports)) return INVALID_INSTRUCTION_DATA;
    return pay(given, input.account_count < MOST_ACCOUNTS ? input.account_count : MOST_ACCOUNTS, lamports);
}
