from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from zmartd.market import fees, lmsr, quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE, Curve
from zmartd.market.quotes import Pool

RATES = FeeRates(protocol_bps=300, resolver_bps=200, lp_bps=500)
FRESH = Pool(Curve(q_yes=SCALE, q_no=SCALE, b=1_000 * SCALE), RATES)


def test_a_buy_quote_says_what_the_buyer_gets_and_pays() -> None:
    quote = quotes.buy_for_cost(FRESH, True, SCALE)

    cost, shares = lmsr.quote_buy(SCALE, SCALE, 1_000 * SCALE, True, 909_090_909)
    assert (quote.amount_lamports, quote.shares) == (cost, shares)
    assert quote.fees == fees.split(cost, 300, 200, 500)
    assert quote.total_lamports == cost + quote.fees.total <= SCALE
    assert quote.price_yes_before == SCALE // 2
    assert quote.price_yes_after == lmsr.price_yes(SCALE + shares, SCALE, 1_000 * SCALE)


def test_a_purchase_below_ten_thousand_lamports_is_too_small() -> None:
    with pytest.raises(MarketMathError) as refused:
        quotes.buy_for_cost(FRESH, True, 9_999)
    assert refused.value.code == "TradeTooSmall"


def test_fees_above_the_tenth_that_the_program_sets_aside_exceed_the_target() -> None:
    dear = Pool(FRESH.curve, FeeRates(protocol_bps=600, resolver_bps=200, lp_bps=500))
    with pytest.raises(MarketMathError) as refused:
        quotes.buy_for_cost(dear, False, SCALE)
    assert refused.value.code == "SlippageExceeded"


def test_a_sale_gives_its_proceeds_less_the_fees() -> None:
    pool = Pool(Curve(q_yes=40 * SCALE, q_no=SCALE, b=1_000 * SCALE), RATES)

    quote = quotes.sell(pool, True, 10 * SCALE, 0)

    proceeds = lmsr.quote_sell(40 * SCALE, SCALE, 1_000 * SCALE, True, 10 * SCALE)
    assert quote.amount_lamports == proceeds
    assert quote.total_lamports == proceeds - quote.fees.total
    assert quote.price_yes_after < quote.price_yes_before


@pytest.mark.parametrize(("missing_lamports", "accepted"), [(0, True), (1, False)])
def test_a_sale_is_refused_one_lamport_below_its_least_proceeds(
    missing_lamports: int, accepted: bool
) -> None:
    pool = Pool(Curve(q_yes=40 * SCALE, q_no=SCALE, b=1_000 * SCALE), RATES)
    least = quotes.sell(pool, True, SCALE, 0).total_lamports + missing_lamports

    if accepted:
        assert quotes.sell(pool, True, SCALE, least).total_lamports == least
        return
    with pytest.raises(MarketMathError) as refused:
        quotes.sell(pool, True, SCALE, least)
    assert refused.value.code == "SlippageExceeded"


def test_nobody_can_sell_more_than_is_outstanding() -> None:
    with pytest.raises(MarketMathError) as refused:
        quotes.sell(FRESH, False, SCALE + 1, 0)
    assert refused.value.code == "InsufficientShares"


def test_a_sale_of_too_many_shares_is_one_whatever_b_is() -> None:
    pool = Pool(Curve(SCALE, SCALE, b=1), FRESH.rates)
    for shares, code in ((SCALE + 1, "InsufficientShares"), (SCALE, "InvalidBParameter")):
        with pytest.raises(MarketMathError) as refused:
            quotes.sell(pool, True, shares, 0)
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("state", "is_paused", "code"),
    [
        (MarketState.RESOLVING, True, "InvalidMarketState"),
        (MarketState.PROPOSED, False, "InvalidMarketState"),
        (MarketState.ACTIVE, True, "ProtocolPaused"),
    ],
)
def test_trading_asks_for_the_state_before_the_pause(state: MarketState, is_paused: bool, code: str) -> None:
    with pytest.raises(MarketMathError) as refused:
        quotes.require_trading(state, is_paused=is_paused)
    assert refused.value.code == code
    quotes.require_trading(MarketState.ACTIVE, is_paused=False)


def test_more_shares_than_the_programs_search_can_reach_are_not_for_sale() -> None:
    with pytest.raises(MarketMathError) as refused:
        quotes.buy_for_shares(FRESH, True, 20_001 * SCALE)
    assert refused.value.code == "InsufficientLiquidity"


curves = st.builds(
    lambda b, q_yes, q_no: Curve(b // 1000 + q_yes % (5 * b), b // 1000 + q_no % (5 * b), b),
    st.integers(100 * SCALE, 10**15),
    st.integers(0, 10**16),
    st.integers(0, 10**16),
)


@settings(max_examples=300)
@given(curves, st.booleans(), st.integers(1, 10**14))
def test_the_inverse_quote_is_the_cheapest_that_gives_the_shares(
    curve: Curve, outcome: bool, shares: int
) -> None:
    pool = Pool(curve, RATES)
    try:
        quote = quotes.buy_for_shares(pool, outcome, shares)
    except MarketMathError as refused:
        event(refused.code)
        return
    assert quote.shares >= shares
    if quote.target_cost_lamports > quotes.MIN_TRADE_LAMPORTS:
        try:
            fewer = quotes.buy_for_cost(pool, outcome, quote.target_cost_lamports - 1).shares
        except MarketMathError as refused:  # where the program's cost is not monotonic
            event(f"one lamport less: {refused.code}")
            fewer = 0
        assert fewer < shares
