"""The value and the profit of positions, and what holders of a finalized market are paid."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.market import fees, lmsr
from zmartd.market.fees import FeeRates
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.market.valuation import (
    MarketFigures,
    PositionFigures,
    SaleProceeds,
    refund,
    value_position,
    winnings,
)

RATES = FeeRates(300, 200, 500)
POSITION = PositionFigures(
    shares_yes=40 * SCALE,
    shares_no=10 * SCALE,
    cost_yes_lamports=25 * SCALE,
    cost_no_lamports=4 * SCALE,
    invested_lamports=35 * SCALE,
    returned_lamports=5 * SCALE,
    claimed_lamports=0,
    has_claimed=False,
)
MARKET = MarketFigures(
    state=MarketState.ACTIVE,
    final_outcome=None,
    price_yes=600_000_000,
    current_liquidity_lamports=100 * SCALE,
    refundable_lamports=60 * SCALE,
    shares_yes=80 * SCALE,
    shares_no=20 * SCALE,
    b_parameter=500 * SCALE,
    rates=RATES,
)


def test_an_open_position_is_worth_its_shares_at_the_price() -> None:
    valuation = value_position(POSITION, MARKET)

    assert (valuation.at_price_yes_lamports, valuation.at_price_no_lamports) == (24 * SCALE, 4 * SCALE)
    assert valuation.value_lamports == 28 * SCALE
    assert valuation.unrealized_lamports == 28 * SCALE - 29 * SCALE
    assert valuation.realized_lamports == 5 * SCALE + 29 * SCALE - 35 * SCALE
    assert valuation.claimable_lamports == 0


def test_a_sale_pays_what_the_program_would_pay_for_one_outcome_after_the_other() -> None:
    q_yes, q_no, b = 80 * SCALE, 20 * SCALE, 500 * SCALE
    yes = lmsr.quote_sell(q_yes, q_no, b, True, 40 * SCALE)
    no = lmsr.quote_sell(q_yes - 40 * SCALE, q_no, b, False, 10 * SCALE)
    net = sum(one - fees.split(one, 300, 200, 500)[3] for one in (yes, no))

    assert value_position(POSITION, MARKET).sale == SaleProceeds(yes + no, net)


@pytest.mark.parametrize("change", [{"b_parameter": None}, {"shares_yes": 39 * SCALE}])
def test_what_cannot_be_quoted_has_no_value_on_sale(change: dict[str, int | None]) -> None:
    assert value_position(POSITION, msgspec.structs.replace(MARKET, **change)).sale is None


@pytest.mark.parametrize("state", [MarketState.RESOLVING, MarketState.DISPUTED])
def test_a_market_that_takes_no_trades_has_a_price_and_no_sale(state: MarketState) -> None:
    valuation = value_position(POSITION, msgspec.structs.replace(MARKET, state=state))

    assert valuation.sale is None
    assert valuation.value_lamports == 28 * SCALE


def test_a_winner_s_profit_is_realized_by_the_claim() -> None:
    market = msgspec.structs.replace(MARKET, state=MarketState.FINALIZED, final_outcome=True)
    before = value_position(POSITION, market)
    owed = 40 * 100 * SCALE // 80
    claimed = msgspec.structs.replace(POSITION, has_claimed=True, claimed_lamports=owed)
    after = value_position(claimed, market)

    assert (before.value_lamports, before.claimable_lamports, before.cost_lamports) == (
        owed,
        owed,
        29 * SCALE,
    )
    assert before.unrealized_lamports == owed - 29 * SCALE
    assert (after.value_lamports, after.claimable_lamports, after.cost_lamports) == (0, 0, 0)
    assert after.unrealized_lamports == 0
    assert after.realized_lamports == before.profit_lamports == after.profit_lamports
    assert (after.at_price_yes_lamports, after.sale) == (None, None)


def test_a_loser_s_loss_is_realized_by_the_outcome() -> None:
    only_yes = msgspec.structs.replace(POSITION, shares_no=0, cost_no_lamports=0)
    valuation = value_position(
        only_yes, msgspec.structs.replace(MARKET, state=MarketState.FINALIZED, final_outcome=False)
    )

    assert (valuation.value_lamports, valuation.cost_lamports, valuation.unrealized_lamports) == (0, 0, 0)
    assert valuation.realized_lamports == 5 * SCALE - 35 * SCALE


def test_without_an_outcome_what_was_paid_in_and_not_taken_out_comes_back() -> None:
    market = msgspec.structs.replace(MARKET, state=MarketState.FINALIZED)
    valuation = value_position(POSITION, market)
    short = value_position(POSITION, msgspec.structs.replace(market, current_liquidity_lamports=30 * SCALE))
    refunded = msgspec.structs.replace(POSITION, has_claimed=True, claimed_lamports=30 * SCALE)

    assert valuation.claimable_lamports == 30 * SCALE
    assert valuation.profit_lamports == 0
    assert short.claimable_lamports == 15 * SCALE
    assert value_position(refunded, market).realized_lamports == 0
    ahead = msgspec.structs.replace(POSITION, returned_lamports=36 * SCALE)
    assert (
        value_position(ahead, market).claimable_lamports,
        value_position(ahead, market).realized_lamports,
    ) == (0, SCALE)


def test_a_claim_that_is_known_before_the_outcome_is_not_counted_twice() -> None:
    claimed = msgspec.structs.replace(POSITION, has_claimed=True, claimed_lamports=SCALE)

    assert value_position(claimed, MARKET).value_lamports == 0


def test_winners_share_the_pool_by_their_shares_and_rounding_stays_in_it() -> None:
    assert winnings(1, 3, 100) == 33
    assert winnings(3, 3, 100) == 100
    assert winnings(0, 3, 100) == 0
    assert winnings(0, 0, 100) == 0


def test_a_market_without_outcome_gives_back_what_is_not_taken_out_yet() -> None:
    assert refund(100, 30, 500, 500) == 70
    assert refund(100, 130, 500, 500) == 0


def test_a_pool_too_small_for_all_refunds_is_shared_out() -> None:
    assert refund(100, 0, 300, 200) == 66


AMOUNT = st.integers(0, 2**40)


@given(
    st.builds(
        PositionFigures,
        shares_yes=st.integers(-5, 2**40),
        shares_no=st.integers(-5, 2**40),
        cost_yes_lamports=AMOUNT,
        cost_no_lamports=AMOUNT,
        invested_lamports=AMOUNT,
        returned_lamports=AMOUNT,
        claimed_lamports=AMOUNT,
        has_claimed=st.booleans(),
    ),
    st.builds(
        MarketFigures,
        state=st.sampled_from(MarketState),
        final_outcome=st.none() | st.booleans(),
        price_yes=st.integers(0, SCALE),
        current_liquidity_lamports=AMOUNT,
        refundable_lamports=st.integers(1, 2**42),
        shares_yes=AMOUNT,
        shares_no=AMOUNT,
        b_parameter=st.none() | st.integers(100 * SCALE, 1_000 * SCALE),
        rates=st.just(RATES),
    ),
)
def test_profit_is_always_what_came_out_and_is_left_minus_what_went_in(
    position: PositionFigures, market: MarketFigures
) -> None:
    valuation = value_position(position, market)

    came_out = position.returned_lamports + position.claimed_lamports
    assert valuation.profit_lamports == came_out + valuation.value_lamports - position.invested_lamports
    assert min(valuation.value_lamports, valuation.cost_lamports, valuation.claimable_lamports) >= 0


def test_nobody_is_owed_a_part_of_a_pool_that_told_events_made_negative() -> None:
    assert refund(5, 5, 0, -1) == 0
