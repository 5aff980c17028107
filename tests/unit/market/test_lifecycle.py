from __future__ import annotations

import pytest

from zmartd.market import lifecycle, votes
from zmartd.market.lifecycle import MarketState, VoteKind


@pytest.mark.parametrize(
    ("dispute_period", "due"),
    [(259_200, 1_000 + 259_200 + 60), (3_600, 1_000 + 172_800 + 60)],
)
def test_a_resolution_is_finalizable_after_the_longer_period_and_the_margin(
    dispute_period: int, due: int
) -> None:
    assert lifecycle.finalizable_at(1_000, dispute_period, 172_800, 60) == due


@pytest.mark.parametrize(("outcome", "other"), [(True, False), (False, True), (None, None)])
def test_a_successful_dispute_flips_the_outcome_but_not_an_invalid_one(
    outcome: bool | None, other: bool | None
) -> None:
    assert lifecycle.flipped(outcome) is other


def test_each_vote_is_open_in_one_state_only() -> None:
    assert VoteKind.PROPOSAL.open_state is MarketState.PROPOSED
    assert VoteKind.DISPUTE.open_state is MarketState.DISPUTED
    assert [kind.seed for kind in VoteKind] == [0, 1]


@pytest.mark.parametrize(
    ("yes", "no", "passed"),
    [
        (7, 3, True),
        (6, 4, False),
        (0, 0, False),
        (2, 0, False),
        (69_999, 30_001, False),
        (70_000, 30_000, True),
    ],
)
def test_a_proposal_needs_its_share_and_its_minimum(yes: int, no: int, passed: bool) -> None:
    assert votes.passes(yes, no, threshold_bps=7_000, minimum_votes=3) is passed


def test_no_votes_never_pass_even_a_threshold_of_zero() -> None:
    assert votes.passes(0, 0, threshold_bps=0, minimum_votes=0) is False


@pytest.mark.parametrize(("requests", "holders", "passed"), [(1, 10, True), (1, 11, False), (0, 0, False)])
def test_a_tenth_of_the_holders_can_open_a_dispute(requests: int, holders: int, passed: bool) -> None:
    assert votes.petition_passes(requests, holders, threshold_bps=1_000) is passed
