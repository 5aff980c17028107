from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from zmartd.market import fees, lmsr, trade_pricing
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import Curve
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade, curve_after, curve_before

RATES = FeeRates(300, 200, 500)
B = 500 * lmsr.SCALE


def history(
    seed: int, length: int, *, per_slot: int = 1, indexed: bool = False
) -> tuple[Curve, list[PricedTrade]]:
    """The trades of a market, made as the program makes them, with their exact amounts."""
    rng = random.Random(seed)
    curve = start = Curve(B // 1000, B // 1000, B)
    held = {True: 0, False: 0}
    made: list[PricedTrade] = []
    while len(made) < length:
        outcome, buys = rng.random() < 0.5, rng.random() < 0.6
        try:
            if buys:
                cost, shares = lmsr.quote_buy(
                    curve.q_yes, curve.q_no, curve.b, outcome, rng.randint(10_000, 10**10)
                )
            else:
                shares = rng.randint(0, held[outcome])
                cost = lmsr.quote_sell(curve.q_yes, curve.q_no, curve.b, outcome, shares)
        except MarketMathError:  # the program refuses it as well
            continue
        if cost < 10_000:
            continue
        held[outcome] += shares if buys else -shares
        protocol, resolver, lp, total = fees.split(cost, 300, 200, 500)
        number = len(made)
        trade = UnpricedTrade(
            signature=f"{rng.getrandbits(64):016x}",
            ordinal=0,
            slot=100 + number // per_slot,
            index_in_block=number % per_slot if indexed else None,
            buys=buys,
            outcome=outcome,
            shares=shares,
            cash_lamports=cost + total if buys else cost - total,
            price_yes_after=0,
            rates=RATES,
        )
        curve = curve_after(curve, trade)
        price = lmsr.price_yes(curve.q_yes, curve.q_no, curve.b)
        made.append(
            PricedTrade(
                replace(trade, price_yes_after=price),
                cost,
                protocol,
                resolver,
                lp,
                exact=True,
            )
        )
    return start, made


def by_signature(priced: list[PricedTrade]) -> dict[str, PricedTrade]:
    return {one.trade.signature: one for one in priced}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("per_slot", [1, 7])
def test_amounts_are_recovered_whatever_order_the_trades_come_in(per_slot: int, indexed: bool) -> None:
    start, made = history(seed=3, length=60, per_slot=per_slot, indexed=indexed)
    shuffled = [one.trade for one in made]
    random.Random(1).shuffle(shuffled)
    assert by_signature(trade_pricing.price_trades(start, shuffled)) == by_signature(made)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 29))
@settings(max_examples=25)
def test_pricing_the_last_trades_gives_the_same_as_pricing_all(seed: int, cut: int) -> None:
    start, made = history(seed, length=30)
    for one in made[:cut]:
        start = curve_after(start, one.trade)
    assert trade_pricing.price_trades(start, [one.trade for one in made[cut:]]) == made[cut:]


def test_without_an_earlier_trade_the_rest_is_an_estimate_near_the_exact_amount() -> None:
    start, made = history(seed=5, length=20)
    known = [one.trade for one in made[1:]]
    for got, true in zip(trade_pricing.price_trades(start, known), made[1:], strict=True):
        assert got.exact is False
        assert abs(got.amount_lamports - true.amount_lamports) <= 1


def test_before_the_market_s_creation_is_known_nothing_is_exact() -> None:
    _, made = history(seed=6, length=5)
    assert {one.exact for one in trade_pricing.price_trades(None, [one.trade for one in made])} == {False}


def test_curve_before_is_the_inverse_of_curve_after() -> None:
    start, made = history(seed=7, length=10)
    curve = start
    for one in made:
        assert curve_before(curve_after(curve, one.trade), one.trade) == curve
        curve = curve_after(curve, one.trade)
