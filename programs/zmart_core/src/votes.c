/* Votes on proposals and disputes, one a wallet, and the counts that the backend authority reports. */
#include "admit.h"
#include "pool.h"
#include "tally.h"

static const VoteType PROPOSAL = VoteType_Proposal, DISPUTE = VoteType_Dispute;

static void seeds_of_proposal_vote(const Context *c, Seeds *out) {
    *out = *VOTE_SEEDS(key_of(c, ROLE_market), key_of(c, ROLE_user), &PROPOSAL);
}

static void seeds_of_dispute_vote(const Context *c, Seeds *out) {
    *out = *VOTE_SEEDS(key_of(c, ROLE_market), key_of(c, ROLE_user), &DISPUTE);
}

static Error cast_vote(Context *c, VoteType type, MarketState open_state, bool vote) {
    const Pubkey *market = key_of(c, ROLE_market), *user = key_of(c, ROLE_user);
    REQUIRE(c->market.state == open_state, E_InvalidStateForVoting);
    TRY(create_account(c, ROLE_user, ROLE_vote_record, VOTE_BYTES));
    VoteRecord record = {*market, *user, type, vote, c->now, c->made.bump};
    Writer out = {account(c, ROLE_vote_record)->data};
    write_u64(&out, &(u64){DISCRIMINATOR_VoteRecord});
    write_VoteRecord(&out, &record);
    return OK;
}

static Error submit_proposal_vote(Context *c) {
    bool vote = c->arguments.submit_proposal_vote.vote;
    TRY(cast_vote(c, PROPOSAL, MarketState_Proposed, vote));
    emit_ProposalVoteSubmitted(&(ProposalVoteSubmitted){
        .market_id = c->market.market_id,
        .user = *key_of(c, ROLE_user),
        .vote = vote,
        .timestamp = c->now,
    });
    return OK;
}

static Error submit_dispute_vote(Context *c) {
    bool vote = c->arguments.submit_dispute_vote.vote;
    TRY(cast_vote(c, DISPUTE, MarketState_Disputed, vote));
    emit_DisputeVoteSubmitted(&(DisputeVoteSubmitted){
        .market_id = c->market.market_id,
        .user = *key_of(c, ROLE_user),
        .vote = vote,
        .timestamp = c->now,
    });
    return OK;
}

/* Records the counts only: approve_proposal acts on them. */
static Error aggregate_proposal_votes(Context *c) {
    const aggregate_proposal_votes_arguments *final = &c->arguments.aggregate_proposal_votes;
    MarketAccount *market = &c->market;
    u32 total;
    TRY(require_backend_authority(c));
    REQUIRE(market->state == MarketState_Proposed, E_InvalidStateForVoting);
    TRY(sum_of_votes(final->final_likes, final->final_dislikes, &total));
    market->proposal_likes = final->final_likes;
    market->proposal_dislikes = final->final_dislikes;
    market->proposal_total_votes = total;
    save_market(c);
    emit_ProposalAggregated(&(ProposalAggregated){
        .market_id = market->market_id,
        .likes = final->final_likes,
        .dislikes = final->final_dislikes,
        .approval_percentage = percentage(final->final_likes, total),
        .approved = reaches(c->config.proposal_approval_threshold, final->final_likes, total),
        .timestamp = c->now,
    });
    return OK;
}

/* A dispute that succeeds leaves the resolution open again; one that fails ends the market without an outcome. */
static Error aggregate_dispute_votes(Context *c) {
    const aggregate_dispute_votes_arguments *final = &c->arguments.aggregate_dispute_votes;
    MarketAccount *market = &c->market;
    u32 total;
    TRY(require_backend_authority(c));
    REQUIRE(market->state == MarketState_Disputed, E_InvalidStateForVoting);
    TRY(sum_of_votes(final->final_agrees, final->final_disagrees, &total));
    bool succeeded = reaches(c->config.dispute_success_threshold, final->final_agrees, total);
    market->dispute_agree = final->final_agrees;
    market->dispute_disagree = final->final_disagrees;
    market->dispute_total_votes = total;
    if (succeeded) {
        market->state = MarketState_Resolving;
    } else {
        market->state = MarketState_Finalized;
        market->was_disputed = true;
        market->finalized_at = c->now;
    }
    save_market(c);
    emit_DisputeAggregated(&(DisputeAggregated){
        .market_id = market->market_id,
        .agrees = final->final_agrees,
        .disagrees = final->final_disagrees,
        .agreement_percentage = percentage(final->final_agrees, total),
        .dispute_succeeded = succeeded,
        .timestamp = c->now,
    });
    return OK;
}
