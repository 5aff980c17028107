"""Every pricing case that the program answers, answered the same, to the unit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError

VECTORS = Path(__file__).parents[2] / "vectors" / "lmsr.jsonl"

ANSWERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "price": lambda c: lmsr.price_yes(c["q_yes"], c["q_no"], c["b"]),
    "cost": lambda c: lmsr.cost(c["q_yes"], c["q_no"], c["b"]),
    "buy": lambda c: list(lmsr.quote_buy(c["q_yes"], c["q_no"], c["b"], c["outcome"], c["target_cost"])),
    "sell": lambda c: lmsr.quote_sell(c["q_yes"], c["q_no"], c["b"], c["outcome"], c["shares"]),
    "fees": lambda c: list(fees.split(c["amount"], c["protocol_bps"], c["resolver_bps"], c["lp_bps"])),
}


def answer(case: dict[str, Any]) -> object:
    try:
        return {"ok": ANSWERS[case["fn"]](case)}
    except MarketMathError as error:
        return {"err": error.code}


@pytest.mark.parametrize("function", sorted(ANSWERS))
def test_every_case_of_the_program_is_answered_exactly(function: str) -> None:
    cases = [case for case in map(json.loads, VECTORS.read_text().splitlines()) if case["fn"] == function]
    assert len(cases) > 300
    wrong = [
        (case, got)
        for case in cases
        if (got := answer(case)) != {key: case[key] for key in ("ok", "err") if key in case}
    ]
    assert wrong == []


@given(b=st.integers(lmsr.MIN_B, 2**60), q=st.integers(0, 2**60))
def test_equal_shares_are_priced_at_one_half(b: int, q: int) -> None:
    assert lmsr.price_yes(q, q, b) == lmsr.SCALE // 2


@given(
    b=st.integers(lmsr.MIN_B, 10**15),
    q_yes=st.integers(0, 10**15),
    q_no=st.integers(0, 10**15),
    target=st.integers(10_000, 10**12),
    outcome=st.booleans(),
)
def test_selling_what_was_just_bought_returns_exactly_its_cost(
    b: int, q_yes: int, q_no: int, target: int, outcome: bool
) -> None:
    try:
        cost, shares = lmsr.quote_buy(q_yes, q_no, b, outcome, target)
    except MarketMathError:
        return
    q_yes, q_no = (q_yes + shares, q_no) if outcome else (q_yes, q_no + shares)
    assert lmsr.quote_sell(q_yes, q_no, b, outcome, shares) == cost


def test_a_buyer_cannot_push_the_shares_past_64_bits() -> None:
    with pytest.raises(MarketMathError) as caught:
        lmsr.quote_buy(2**64 - 1, 2**64 - 1, 2**62, True, 10**18)
    assert caught.value.code == "OverflowError"


def test_more_shares_than_outstanding_cannot_be_sold() -> None:
    with pytest.raises(MarketMathError) as caught:
        lmsr.quote_sell(10, 10, lmsr.MIN_B, False, 11)
    assert caught.value.code == "InsufficientShares"
