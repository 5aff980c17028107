"""Limits of trades: which follow from the slippage, which win, and what holds when the price moves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from zmartd.market import largest, orders, quotes
from zmartd.market.errors import MarketMathError, TradeTerms
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import SCALE, SEARCH_SPAN_IN_B, U64_MAX, Curve
from zmartd.market.orders import MAX_SLIPPAGE_BPS, LimitNotMet, Purchase, Sale
from zmartd.market.quotes import Pool

RATES = FeeRates(protocol_bps=300, resolver_bps=200, lp_bps=500)
POOL = Pool(Curve(q_yes=40 * SCALE, q_no=SCALE, b=1_000 * SCALE), RATES)


def buy(**order: Any) -> orders.ProtectedPurchase:
    return orders.protect_purchase(POOL, Purchase(outcome=True, **order))


def sell(**order: Any) -> quotes.SellQuote:
    return orders.protect_sale(POOL, Sale(outcome=True, **order))


@pytest.mark.parametrize(("slippage_bps", "parts"), [(None, 9_900), (0, 10_000), (MAX_SLIPPAGE_BPS, 5_000)])
def test_the_other_side_of_a_trade_may_become_worse_by_the_slippage_and_no_unit_more(
    slippage_bps: int | None, parts: int
) -> None:
    given: dict[str, Any] = {} if slippage_bps is None else {"slippage_bps": slippage_bps}
    for amount in (SCALE // 10, SCALE, 10 * SCALE + 7):
        bought = buy(target_cost=amount, **given)
        assert bought.max_cost == amount
        assert bought.quote == quotes.buy_for_cost(POOL, True, amount)
        sold = sell(shares=amount, **given)
        for least, quoted in (
            (bought.min_shares, bought.quote.shares),
            (sold.min_proceeds_lamports, sold.total_lamports),
        ):
            assert (least - 1) * 10_000 < quoted * parts <= least * 10_000


def test_a_purchase_of_shares_brings_them_at_least_and_has_the_slippage_as_room() -> None:
    exact = quotes.buy_for_shares(POOL, True, SCALE)
    room = exact.target_cost_lamports * 101 // 100
    for order, target_cost, max_cost in (
        ({}, room, room),
        ({"slippage_bps": 0}, exact.target_cost_lamports, exact.target_cost_lamports),
        ({"max_cost": room - 1}, room - 1, room - 1),
        ({"max_cost": 10 * SCALE}, room, 10 * SCALE),  # nobody pays for room that was not asked for
    ):
        bought = buy(shares=SCALE, **order)
        assert (bought.quote.target_cost_lamports, bought.max_cost) == (target_cost, max_cost)
        assert bought.min_shares == SCALE <= bought.quote.shares
    assert buy(shares=SCALE, min_shares=SCALE // 2).min_shares == SCALE // 2


def test_a_limit_that_is_given_wins_over_the_slippage() -> None:
    shares = buy(target_cost=SCALE).quote.shares
    net = sell(shares=SCALE).total_lamports
    for least in (0, 1, shares):
        assert buy(target_cost=SCALE, slippage_bps=0, min_shares=least).min_shares == least
    for least in (0, 1, net):
        assert sell(shares=SCALE, slippage_bps=0, min_proceeds=least).min_proceeds_lamports == least


def test_a_limit_beyond_the_present_price_is_named_with_what_the_market_offers() -> None:
    shares = buy(target_cost=SCALE).quote.shares
    cost = quotes.buy_for_shares(POOL, True, SCALE).target_cost_lamports
    net = sell(shares=SCALE).total_lamports
    for trade, limit, wanted, offered in (
        (lambda: buy(target_cost=SCALE, min_shares=shares + 1), "min_shares", shares + 1, shares),
        (lambda: buy(shares=SCALE, max_cost=cost - 1), "max_cost", cost - 1, cost),
        (lambda: sell(shares=SCALE, min_proceeds=net + 1), "min_proceeds", net + 1, net),
    ):
        with pytest.raises(LimitNotMet) as refused:
            trade()
        assert refused.value.code == "SlippageExceeded"
        told = msgspec.to_builtins(refused.value.details)
        assert told == {"limit": limit, limit: str(wanted), "offered": str(offered)}


def test_nobody_sells_more_than_the_wallet_holds() -> None:
    orders.require_shares(SCALE, True, SCALE)
    with pytest.raises(MarketMathError) as refused:
        orders.require_shares(SCALE, True, SCALE + 1)
    assert refused.value.code == "InsufficientShares"
    assert refused.value.details == TradeTerms(shares=str(SCALE + 1), shares_held=str(SCALE))


def _curves(largest_b: int) -> st.SearchStrategy[Curve]:
    return st.builds(
        lambda b, q_yes, q_no: Curve(min(q_yes % (25 * b), U64_MAX), min(q_no % (25 * b), U64_MAX), b),
        st.integers(100 * SCALE, largest_b),
        st.integers(0, 25 * largest_b),
        st.integers(0, 25 * largest_b),
    )


curves = _curves(10**15)
LARGEST_B = U64_MAX // SEARCH_SPAN_IN_B
"""Of the markets in which the program can make any purchase."""


@settings(max_examples=300, deadline=None)
@given(curves, st.booleans())
def test_the_largest_purchase_can_be_made_and_a_larger_one_cannot(curve: Curve, outcome: bool) -> None:
    pool, most = Pool(curve, RATES), largest.largest_target_cost(curve, outcome)

    def code(target_cost: int) -> str | None:
        try:
            quotes.buy_for_cost(pool, outcome, target_cost)
        except MarketMathError as refused:
            return refused.code
        return None

    event("any" if most is None else "some" if most else "none")
    too_large = "ExponentTooLarge"
    if most is None:
        assert code(2**63) != too_large
    else:
        assert most == 0 or code(most) != too_large
        assert code(max(most + 1, quotes.MIN_TRADE_LAMPORTS)) == too_large


@settings(max_examples=300, deadline=None)
@given(curves, st.booleans())
def test_the_largest_sale_can_be_made_and_a_larger_one_cannot(curve: Curve, outcome: bool) -> None:
    pool, most = Pool(curve, RATES), largest.largest_sale(curve, outcome)

    def code(shares: int) -> str | None:
        try:
            quotes.sell(pool, outcome, shares, 0)
        except MarketMathError as refused:
            return refused.code
        return None

    event("all" if most == (curve.q_yes if outcome else curve.q_no) else "some" if most else "none")
    assert most == 0 or code(most) != "ExponentTooLarge"
    assert code(most + 3 + 3 * curve.b // SCALE) in {"ExponentTooLarge", "InsufficientShares"}


def test_a_trade_that_is_too_large_is_told_the_largest_one() -> None:
    for trade, unit in (("target_cost", "lamports"), ("shares", "share units")):
        with pytest.raises(MarketMathError) as refused:
            buy(**{trade: 10**16})
        assert refused.value.code == "TradeTooLarge"
        assert unit in refused.value.message
        most = int(refused.value.details.largest_trade_here or 0)
        assert buy(**{trade: most}).quote.shares > 0
        with pytest.raises(MarketMathError):
            buy(**{trade: most + 1})
    far = Pool(Curve(25_000 * SCALE, SCALE, 1_000 * SCALE), RATES)
    with pytest.raises(MarketMathError) as refused:
        orders.protect_sale(far, Sale(outcome=True, shares=SCALE))
    assert refused.value.details == TradeTerms(largest_trade_here="0")


@settings(max_examples=150, deadline=None)
@given(_curves(LARGEST_B), st.booleans(), st.sampled_from(["target_cost", "shares"]))
@example(Curve(1562687087805301, 1562687087805301, 1562687087805301264), True, "target_cost")
@example(Curve(92395056651772437, 357864909873509157, 858251528074890624), True, "shares")
@example(Curve(0, 28_373, 100 * SCALE), False, "shares")
@example(Curve(7443565960171487946, 15179019087983565224, LARGEST_B), True, "shares")
def test_what_is_said_to_be_the_largest_trade_can_be_made_in_the_largest_markets_too(
    curve: Curve, outcome: bool, unit: str
) -> None:
    pool = Pool(curve, RATES)

    def told(number: int) -> tuple[str | None, int]:
        try:
            bought = orders.protect_purchase(pool, Purchase(outcome=outcome, **{unit: number}))
        except MarketMathError as refused:
            largest = refused.details.largest_trade_here
            return refused.code, 0 if largest is UNSET else int(largest)
        assert max(bought.max_cost, bought.quote.target_cost_lamports) <= U64_MAX
        return None, number

    refusal, most = told(U64_MAX)
    event(f"{unit} {refusal} {most > 0}")
    if refusal == "TradeTooLarge" and most:
        assert most < U64_MAX
        assert told(most)[0] is None
        assert told(most + 1) == ("TradeTooLarge", most)


moves = st.lists(st.tuples(st.booleans(), st.integers(-40, 40)), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.integers(10**7, 10**11), st.integers(0, MAX_SLIPPAGE_BPS), st.booleans(), st.floats(0, 1), moves)
def test_a_purchase_within_its_limits_is_one_whatever_happened_before_it(
    amount: int, slippage_bps: int, by_shares: bool, room: float, others: list[tuple[bool, int]]
) -> None:
    """The transaction spends its target cost at most, wherever the curve has gone; with the room that a
    purchase of shares has, its shares are there up to the price that the room pays for."""
    if by_shares:
        cost = quotes.buy_for_shares(POOL, True, amount).target_cost_lamports
        own_limit = cost + int(cost * room)
        bought = buy(slippage_bps=slippage_bps, shares=amount, max_cost=own_limit)
        most = min(own_limit, cost * (10_000 + slippage_bps) // 10_000)
    else:
        bought, most = buy(slippage_bps=slippage_bps, target_cost=amount), amount
    assert bought.quote.target_cost_lamports == most
    pool = POOL
    for outcome, shares in others:
        held = pool.curve.q_yes if outcome else pool.curve.q_no
        pool = pool.moved(outcome, max(shares * SCALE, -held))
    try:
        landed = quotes.buy_for_cost(pool, True, bought.quote.target_cost_lamports)
        assert landed.total_lamports <= most
        needed = quotes.buy_for_shares(pool, True, amount).target_cost_lamports
    except MarketMathError:
        return
    if by_shares and needed <= most:
        event("there")
        assert landed.shares >= bought.min_shares
