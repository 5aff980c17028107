/* zmart_core: prediction markets priced by an LMSR curve. One translation unit; this file is its table of contents. */
#include "config.c"
#include "market.c"
#include "votes.c"
#include "trade.c"
#include "resolve.c"
#include "payout.c"

typedef struct {
    u64 discriminator;
    Text log;
    const Rule *rules;
    u64 rule_count;
    u8 created; /* the account that it makes */
    SeedsOf seeds_of;
    bool (*parse)(Reader *, Arguments *);
    Error (*run)(Context *);
} Instruction;

#define CREATING(name, created, seeds_of)                                                                              \
    {DISCRIMINATOR_##name, LOG_##name, RULES_##name, COUNT(RULES_##name), created, seeds_of, parse_##name, name}
#define INSTRUCTION(name) CREATING(name, NOBODY, 0)

static const Instruction INSTRUCTIONS[] = {
    CREATING(initialize_global_config, ROLE_global_config, seeds_of_config),
    INSTRUCTION(update_global_config),
    INSTRUCTION(emergency_pause),
    CREATING(create_market, ROLE_market, seeds_of_new_market),
    CREATING(submit_proposal_vote, ROLE_vote_record, seeds_of_proposal_vote),
    INSTRUCTION(aggregate_proposal_votes),
    INSTRUCTION(approve_proposal),
    INSTRUCTION(activate_market),
    CREATING(buy_shares, ROLE_position, seeds_of_position),
    INSTRUCTION(sell_shares),
    INSTRUCTION(resolve_market),
    INSTRUCTION(initiate_dispute),
    CREATING(submit_dispute_vote, ROLE_vote_record, seeds_of_dispute_vote),
    INSTRUCTION(aggregate_dispute_votes),
    INSTRUCTION(finalize_market),
    INSTRUCTION(claim_winnings),
    INSTRUCTION(withdraw_liquidity),
    INSTRUCTION(cancel_market),
};

static const Instruction *find_instruction(Reader *data) {
    u64 discriminator;
    if (!read_u64(data, &discriminator)) return 0;
    for (u64 i = 0; i < COUNT(INSTRUCTIONS); i++)
        if (INSTRUCTIONS[i].discriminator == discriminator) return &INSTRUCTIONS[i];
    return 0;
}

static Error dispatch(Context *c, Reader *data) {
    const Instruction *instruction = find_instruction(data);
    if (!instruction) return E_InstructionFallbackNotFound;
    sol_log_(instruction->log.chars, instruction->log.length);
    if (!instruction->parse(data, &c->arguments)) return E_InstructionDidNotDeserialize;
    TRY(admit(c, instruction->rules, instruction->rule_count, instruction->created, instruction->seeds_of));
    Clock clock;
    sol_get_clock_sysvar(&clock);
    c->now = clock.unix_timestamp;
    return instruction->run(c);
}

Error entrypoint(u8 *memory) {
    Context c;
    Input input = read_input(memory, c.given, MOST_ACCOUNTS);
    c.program = input.program;
    c.given_count = input.account_count < MOST_ACCOUNTS ? input.account_count : MOST_ACCOUNTS;
    c.blamed = NOBODY;
    c.has_keys = false;
    Error error = dispatch(&c, &input.data);
    if (error) log_failure(&c, error);
    return error;
}
