/* A market from its proposal to its opening, or its cancellation. */
#include "admit.h"
#include "pool.h"
#include "tally.h"

static void seeds_of_new_market(const Context *c, Seeds *out) {
    *out = *MARKET_SEEDS(&c->arguments.create_market.market_id);
}

/* The outcomes of a new market start with so many shares each that nobody owns, so that its price is one half. */
static Error create_market(Context *c) {
    const create_market_arguments *wanted = &c->arguments.create_market;
    REQUIRE(!c->config.is_paused, E_ProtocolPaused);
    REQUIRE(wanted->b_parameter, E_InvalidBParameter);
    REQUIRE(wanted->initial_liquidity, E_InvalidLiquidity);
    TRY(create_account(c, ROLE_creator, ROLE_market, MARKET_BYTES));
    TRY(transfer(c, ROLE_creator, ROLE_market, wanted->initial_liquidity));
    c->market = (MarketAccount){
        .market_id = wanted->market_id,
        .creator = *key_of(c, ROLE_creator),
        .state = MarketState_Proposed,
        .b_parameter = wanted->b_parameter,
        .initial_liquidity = wanted->initial_liquidity,
        .current_liquidity = wanted->initial_liquidity,
        .shares_yes = seed_shares(wanted->b_parameter),
        .shares_no = seed_shares(wanted->b_parameter),
        .created_at = c->now,
        .ipfs_evidence_hash = wanted->ipfs_question_hash,
        .bump = c->made.bump,
    };
    save_market(c);
    emit_MarketCreated(&(MarketCreated){
        .market_id = c->market.market_id,
        .creator = c->market.creator,
        .b_parameter = c->market.b_parameter,
        .state = c->market.state,
        .timestamp = c->now,
    });
    return OK;
}

static Error approve_proposal(Context *c) {
    MarketAccount *market = &c->market;
    TRY(require_admin(c, ROLE_admin));
    REQUIRE(market->state == MarketState_Proposed, E_InvalidStateTransition);
    REQUIRE(market->proposal_total_votes, E_NoVotesRecorded);
    REQUIRE(reaches(c->config.proposal_approval_threshold, market->proposal_likes, market->proposal_total_votes),
            E_InsufficientVotes);
    market->state = MarketState_Approved;
    market->approved_at = c->now;
    save_market(c);
    emit_ProposalApproved(&(ProposalApproved){
        .market_id = market->market_id,
        .approved_by = *key_of(c, ROLE_admin),
        .timestamp = c->now,
    });
    return OK;
}

static Error activate_market(Context *c) {
    MarketAccount *market = &c->market;
    if (!same_key(key_of(c, ROLE_authority), &market->creator)) TRY(require_admin(c, ROLE_authority));
    REQUIRE(market->state == MarketState_Approved, E_InvalidStateTransition);
    market->state = MarketState_Active;
    market->activated_at = c->now;
    save_market(c);
    emit_MarketActivated(&(MarketActivated){
        .market_id = market->market_id,
        .creator = market->creator,
        .initial_liquidity = market->initial_liquidity,
        .timestamp = c->now,
    });
    return OK;
}

static Error cancel_market(Context *c) {
    MarketAccount *market = &c->market;
    TRY(require_admin(c, ROLE_admin));
    REQUIRE(market->state != MarketState_Cancelled, E_MarketAlreadyCancelled);
    REQUIRE(market->state == MarketState_Proposed || market->state == MarketState_Approved, E_CannotCancelMarket);
    market->state = MarketState_Cancelled;
    market->is_cancelled = true;
    market->cancelled_at = (Option_i64){true, c->now};
    save_market(c);
    emit_MarketCancelled(&(MarketCancelled){
        .market_id = market->market_id,
        .cancelled_by = *key_of(c, ROLE_admin),
        .cancelled_at = c->now,
    });
    return OK;
}
