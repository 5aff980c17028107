"""The events of a market from its proposal to its opening, or its cancellation."""

from __future__ import annotations

from zmartd.chain.events import (
    MarketActivated,
    MarketCancelled,
    MarketCreated,
    ProposalAggregated,
    ProposalApproved,
    ProposalVoteSubmitted,
)
from zmartd.chain.interface import (
    ActivateMarket,
    AggregateProposalVotes,
    ApproveProposal,
    CancelMarket,
    CreateMarket,
    SubmitProposalVote,
)
from zmartd.indexer.truncation.step import Contradiction, Inferences, Step, required
from zmartd.market.lifecycle import MarketState
from zmartd.market.votes import passes, percentage


def _create(step: Step, given: CreateMarket) -> MarketCreated:
    """All of it is in the instruction."""
    if step.key("market") in step.known.markets:
        raise Contradiction(f"the market {step.key('market')} was there before")
    return MarketCreated(
        given.market_id, step.key("creator"), given.b_parameter, MarketState.PROPOSED.value, step.at
    )


def _vote(step: Step, given: SubmitProposalVote) -> ProposalVoteSubmitted:
    market = step.market(MarketState.PROPOSED)
    return ProposalVoteSubmitted(market.id, step.key("user"), given.vote, step.at)


def _aggregate(step: Step, given: AggregateProposalVotes) -> ProposalAggregated:
    """The counts are the instruction's, the threshold is the configuration's."""
    market = step.market(MarketState.PROPOSED)
    threshold = required(step.known.configuration.approval_threshold, "the approval threshold")
    likes, dislikes = given.final_likes, given.final_dislikes
    return ProposalAggregated(
        market.id,
        likes,
        dislikes,
        percentage(likes, likes + dislikes),
        passes(likes, dislikes, threshold),
        step.at,
    )


def _approve(step: Step, _: ApproveProposal) -> ProposalApproved:
    return ProposalApproved(step.market(MarketState.PROPOSED).id, step.key("admin"), step.at)


def _activate(step: Step, _: ActivateMarket) -> MarketActivated:
    """Creator and liquidity are those of the creation."""
    market = step.market(MarketState.APPROVED)
    return MarketActivated(market.id, market.creator, market.initial_liquidity, step.at)


def _cancel(step: Step, _: CancelMarket) -> MarketCancelled:
    market = step.market(MarketState.PROPOSED, MarketState.APPROVED)
    return MarketCancelled(market.id, step.key("admin"), step.at)


INFERENCES: Inferences = {
    CreateMarket: _create,
    SubmitProposalVote: _vote,
    AggregateProposalVotes: _aggregate,
    ApproveProposal: _approve,
    ActivateMarket: _activate,
    CancelMarket: _cancel,
}
