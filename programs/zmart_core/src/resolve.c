/* From trading to an outcome: resolution, dispute, finalization. */
#include "admit.h"
#include "pool.h"
#include "tally.h"

static Error resolve_market(Context *c) {
    const resolve_market_arguments *given = &c->arguments.resolve_market;
    MarketAccount *market = &c->market;
    REQUIRE(market->state == MarketState_Active, E_InvalidStateTransition);
    REQUIRE(!market->proposed_outcome.is_some, E_AlreadyResolved);
    REQUIRE(c->now > market->activated_at, E_InvalidTimestamp);
    market->state = MarketState_Resolving;
    market->resolver = *key_of(c, ROLE_resolver);
    market->proposed_outcome = (Option_bool){true, given->proposed_outcome};
    market->ipfs_evidence_hash = given->ipfs_evidence_hash;
    market->resolution_proposed_at = c->now;
    save_market(c);
    emit_MarketResolved(&(MarketResolved){
        .market_id = market->market_id,
        .resolver = market->resolver,
        .outcome = given->proposed_outcome,
        .evidence_hash = given->ipfs_evidence_hash,
        .timestamp = c->now,
    });
    return OK;
}

static Error initiate_dispute(Context *c) {
    MarketAccount *market = &c->market;
    REQUIRE(market->state == MarketState_Resolving, E_InvalidStateTransition);
    i64 waited = c->now - market->resolution_proposed_at;
    REQUIRE(0 < waited && waited < c->config.dispute_period, E_DisputePeriodEnded);
    market->state = MarketState_Disputed;
    market->dispute_initiator = *key_of(c, ROLE_initiator);
    market->dispute_initiated_at = c->now;
    market->dispute_agree = market->dispute_disagree = market->dispute_total_votes = 0;
    save_market(c);
    emit_DisputeInitiated(&(DisputeInitiated){
        .market_id = market->market_id,
        .initiator = market->dispute_initiator,
        .disputed_outcome = market->proposed_outcome,
        .timestamp = c->now,
    });
    return OK;
}

/* Counts a dispute's votes; the outcome is turned round when enough of them agree with the dispute. */
static Error settle_dispute(Context *c, bool *outcome) {
    const finalize_market_arguments *given = &c->arguments.finalize_market;
    MarketAccount *market = &c->market;
    u32 total;
    REQUIRE(given->dispute_agree.is_some && given->dispute_disagree.is_some, E_NoVotesRecorded);
    TRY(sum_of_votes(given->dispute_agree.value, given->dispute_disagree.value, &total));
    REQUIRE(total, E_NoVotesRecorded);
    market->dispute_agree = given->dispute_agree.value;
    market->dispute_disagree = given->dispute_disagree.value;
    market->dispute_total_votes = total;
    if (reaches(c->config.dispute_success_threshold, given->dispute_agree.value, total)) *outcome = !*outcome;
    return OK;
}

/* A market maker of this kind loses b * ln 2 at most. */
static Error require_bounded_loss(const MarketAccount *market) {
    u64 bound;
    if (market->current_liquidity >= market->initial_liquidity) return OK;
    TRY(multiplied(market->b_parameter, LN_2, &bound));
    REQUIRE(market->initial_liquidity - market->current_liquidity <= bound, E_BoundedLossExceeded);
    return OK;
}

static Error finalize_market(Context *c) {
    MarketAccount *market = &c->market;
    TRY(require_backend_authority(c));
    bool disputed = market->state == MarketState_Disputed;
    REQUIRE(disputed || market->state == MarketState_Resolving, E_InvalidStateTransition);
    REQUIRE(market->proposed_outcome.is_some, E_NoResolutionProposed);
    bool outcome = market->proposed_outcome.value;
    if (disputed) {
        TRY(settle_dispute(c, &outcome));
    } else {
        REQUIRE(c->now - market->resolution_proposed_at >= c->config.dispute_period, E_DisputePeriodNotEnded);
    }
    TRY(require_bounded_loss(market));
    market->state = MarketState_Finalized;
    market->final_outcome = (Option_bool){true, outcome};
    market->was_disputed = market->dispute_initiated_at != 0;
    market->finalized_at = c->now;
    save_market(c);
    emit_MarketFinalized(&(MarketFinalized){
        .market_id = market->market_id,
        .final_outcome = market->final_outcome,
        .was_disputed = market->was_disputed,
        .timestamp = c->now,
    });
    return OK;
}
