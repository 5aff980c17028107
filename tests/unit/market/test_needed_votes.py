"""How many votes are missing, for every count and threshold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmartd.market.needed_votes import votes_missing
from zmartd.market.votes import VoteCounts, passes

votes = st.integers(0, 10**6)


@given(yes=votes, no=votes, threshold=st.integers(0, 10_000), needed=st.integers(0, 1_000))
def test_the_missing_votes_are_the_fewest_that_are_enough(
    yes: int, no: int, threshold: int, needed: int
) -> None:
    missing = votes_missing(VoteCounts(yes, no), threshold, needed)
    if missing is None:
        assert (threshold, no > 0) == (10_000, True)
        return
    assert passes(yes + missing, no, threshold, needed)
    assert missing == 0 or not passes(yes + missing - 1, no, threshold, needed)
