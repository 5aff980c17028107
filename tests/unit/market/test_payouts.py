"""What holders of a finalized market are owed."""

from __future__ import annotations

from zmartd.market import payouts


def test_winners_share_the_pool_by_their_shares_and_rounding_stays_in_it() -> None:
    assert payouts.claim(1, 3, 100) == 33
    assert payouts.claim(3, 3, 100) == 100
    assert payouts.claim(0, 3, 100) == 0
    assert payouts.claim(0, 0, 100) == 0


def test_a_market_without_outcome_gives_back_what_is_not_taken_out_yet() -> None:
    assert payouts.refund(100, 30, 500, 500) == 70
    assert payouts.refund(100, 130, 500, 500) == 0


def test_a_pool_too_small_for_all_refunds_is_shared_out() -> None:
    assert payouts.refund(100, 0, 300, 200) == 66
