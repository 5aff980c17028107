/* zmart_core: prediction markets priced by an LMSR curve. One translation unit: the BPF target passes at most five
   arguments and no structs by value across calls, and everything here is small enough to be compiled as one. */
#include "solana.h"
#include "generated.h"
#include "fixed.h"
#include "anchor.h"
#include "state.h"

#define MIN_TRADE_LAMPORTS 10000ul
#define MIN_WITHDRAWAL_LAMPORTS 10000ul
#define BPS 10000ul
#define SEED_DIVISOR 1000ul

#define ARGUMENTS(size) \
    const u8 *arguments = context->data + 8; \
    if (context->data_length < 8 + (size)) return FAIL(InstructionDidNotDeserialize); \
    (void)arguments
#define BOOLEAN(at) \
    if (arguments[at] > 1) return FAIL(InstructionDidNotDeserialize)
#define ACCOUNTS(number) \
    const Account *account = context->account; \
    if (context->count < (number)) return FAIL(AccountNotEnoughKeys)

#include "configuration.c"
#include "voting.c"
#include "lifecycle.c"
#include "trading.c"
#include "payout.c"

typedef u64 (*Handler)(Context *);
static const struct {
    u64 discriminator;
    Handler handle;
} HANDLERS[] = {
    {INSTRUCTION_BUY_SHARES, buy_shares},
    {INSTRUCTION_SELL_SHARES, sell_shares},
    {INSTRUCTION_CREATE_MARKET, create_market},
    {INSTRUCTION_SUBMIT_PROPOSAL_VOTE, submit_proposal_vote},
    {INSTRUCTION_SUBMIT_DISPUTE_VOTE, submit_dispute_vote},
    {INSTRUCTION_AGGREGATE_PROPOSAL_VOTES, aggregate_proposal_votes},
    {INSTRUCTION_AGGREGATE_DISPUTE_VOTES, aggregate_dispute_votes},
    {INSTRUCTION_APPROVE_PROPOSAL, approve_proposal},
    {INSTRUCTION_ACTIVATE_MARKET, activate_market},
    {INSTRUCTION_RESOLVE_MARKET, resolve_market},
    {INSTRUCTION_INITIATE_DISPUTE, initiate_dispute},
    {INSTRUCTION_FINALIZE_MARKET, finalize_market},
    {INSTRUCTION_CLAIM_WINNINGS, claim_winnings},
    {INSTRUCTION_WITHDRAW_LIQUIDITY, withdraw_liquidity},
    {INSTRUCTION_CANCEL_MARKET, cancel_market},
    {INSTRUCTION_INITIALIZE_GLOBAL_CONFIG, initialize_global_config},
    {INSTRUCTION_UPDATE_GLOBAL_CONFIG, update_global_config},
    {INSTRUCTION_EMERGENCY_PAUSE, emergency_pause},
};

u64 entrypoint(u8 *input) {
    Context context;
    read_input(input, &context);
    if (context.data_length >= 8) {
        u64 discriminator = GET64(context.data);
        for (u64 i = 0; i < sizeof HANDLERS / sizeof *HANDLERS; i++)
            if (HANDLERS[i].discriminator == discriminator) return HANDLERS[i].handle(&context);
    }
    return FAIL(InstructionFallbackNotFound);
}
