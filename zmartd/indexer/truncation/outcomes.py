"""The events from a resolution to the final outcome."""

from __future__ import annotations

from zmartd.chain.events import (
    DisputeAggregated,
    DisputeInitiated,
    DisputeVoteSubmitted,
    MarketFinalized,
    MarketResolved,
)
from zmartd.chain.interface import (
    AggregateDisputeVotes,
    FinalizeMarket,
    InitiateDispute,
    ResolveMarket,
    SubmitDisputeVote,
)
from zmartd.indexer.truncation.step import Contradiction, Inferences, Step, required
from zmartd.market.lifecycle import MarketState, flipped
from zmartd.market.votes import passes, percentage


def _resolve(step: Step, given: ResolveMarket) -> MarketResolved:
    market = step.market(MarketState.ACTIVE)
    return MarketResolved(
        market.id, step.key("resolver"), given.proposed_outcome, given.ipfs_evidence_hash, step.at
    )


def _dispute(step: Step, _: InitiateDispute) -> DisputeInitiated:
    market = step.market(MarketState.RESOLVING)
    return DisputeInitiated(market.id, step.key("initiator"), market.proposed_outcome, step.at)


def _vote(step: Step, given: SubmitDisputeVote) -> DisputeVoteSubmitted:
    market = step.market(MarketState.DISPUTED)
    return DisputeVoteSubmitted(market.id, step.key("user"), given.vote, step.at)


def _aggregate(step: Step, given: AggregateDisputeVotes) -> DisputeAggregated:
    """The counts are the instruction's, the threshold is the configuration's."""
    market = step.market(MarketState.DISPUTED)
    agrees, disagrees = given.final_agrees, given.final_disagrees
    succeeded = passes(agrees, disagrees, _threshold(step))
    return DisputeAggregated(
        market.id, agrees, disagrees, percentage(agrees, agrees + disagrees), succeeded, step.at
    )


def _finalize(step: Step, given: FinalizeMarket) -> MarketFinalized:
    """The proposed outcome, turned round where enough votes agree with a dispute that is open."""
    market = step.market(MarketState.RESOLVING, MarketState.DISPUTED)
    outcome = market.proposed_outcome
    if market.state is MarketState.DISPUTED:
        if given.dispute_agree is None or given.dispute_disagree is None:
            raise Contradiction("the dispute was settled without counts")
        if passes(given.dispute_agree, given.dispute_disagree, _threshold(step)):
            outcome = flipped(outcome)
    return MarketFinalized(market.id, outcome, market.was_disputed, step.at)


def _threshold(step: Step) -> int:
    return required(step.known.configuration.dispute_threshold, "the dispute threshold")


INFERENCES: Inferences = {
    ResolveMarket: _resolve,
    InitiateDispute: _dispute,
    SubmitDisputeVote: _vote,
    AggregateDisputeVotes: _aggregate,
    FinalizeMarket: _finalize,
}
