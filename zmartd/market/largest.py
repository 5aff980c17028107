"""The largest trades that the program can still compute at a point of the curve.

Its exponential is defined up to 20: it fails where the outcomes' shares are further apart than 20 times `b`.
"""

from __future__ import annotations

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.lmsr import Curve


def largest_target_cost(curve: Curve, outcome: bool) -> int | None:
    """The most lamports, fees included, that a purchase of `outcome` can be for; None where any number of 64
    bits can.

    The program's bisection compares the budget with the cost at the points of a fixed tree, from the middle
    of its span on. A budget above all of these goes on to the next one upwards, until one is out of reach: so
    the answer is the highest cost before that one. 0 where the first is out of reach already.
    """
    low, high = 0, lmsr.SEARCH_SPAN_IN_B * curve.b
    if high > lmsr.U64_MAX:
        return 0
    largest_budget = 0
    try:
        before = curve.cost()
        while high - low > lmsr.SEARCH_RESOLUTION:
            middle = low + (high - low) // 2
            largest_budget = max(largest_budget, curve.cost_after(outcome, middle) - before)
            low = middle + 1
        curve.cost_after(outcome, low)
    except MarketMathError:
        largest = fees.largest_target_cost(largest_budget) if largest_budget else 0
        return None if largest >= lmsr.U64_MAX else largest
    return None


def largest_sale(curve: Curve, outcome: bool) -> int:
    """Share units of `outcome` that can be sold at once; 0 where none can.

    It can be too low by a few billionths of `b`, because the program rounds the exponent.
    """
    held, other = (curve.q_yes, curve.q_no) if outcome else (curve.q_no, curve.q_yes)
    apart = (lmsr.MAX_EXPONENT - 1) * curve.b // lmsr.SCALE
    return 0 if abs(held - other) > apart else min(held, held - other + apart)
