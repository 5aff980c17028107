/* Calls another program as it was called itself: with its data, and its accounts after the first, which is that
 * program. The tests send instructions of zmart_core through it. */
#include "runtime.h"

#define MOST_FORWARDED 16

Error entrypoint(u8 *memory) {
    Account given[MOST_FORWARDED];
    AccountMeta passed[MOST_FORWARDED];
    Input input = read_input(memory, given, MOST_FORWARDED);
    if (!input.account_count || input.account_count > MOST_FORWARDED) return 1;
    u64 count = input.account_count - 1;
    for (u64 i = 0; i < count; i++)
        passed[i] = (AccountMeta){given[i + 1].key, given[i + 1].is_writable, given[i + 1].is_signer};
    Call call = {given[0].key, passed, count, input.data.at, (u64)(input.data.end - input.data.at)};
    return sol_invoke_signed_c(&call, given, (int)input.account_count, 0, 0);
}
