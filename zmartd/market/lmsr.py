"""LMSR, the market maker's price curve, in the program's own fixed-point arithmetic.

An LMSR market with liquidity parameter `b` prices the outstanding shares `(q_yes, q_no)` by
`C = b * ln(exp(q_yes / b) + exp(q_no / b))`. The program approximates exp by a Padé fraction and ln by an
artanh series, truncates every division and fails where a value does not fit 64 bits. A quote has to equal
what the chain charges, so this module repeats those steps one by one, with the same roundings and errors.

All values are integers with nine decimals (`SCALE` = 1.0). Costs are lamports, of which a SOL has 10^9.
`tests/vectors/lmsr.jsonl` has exact cases of every function.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.errors import MarketMathError

SCALE = 1_000_000_000
"""1.0 in fixed point; also lamports per SOL."""

MIN_B = 100 * SCALE
"""The smallest liquidity parameter that the program accepts."""

U64_MAX = 2**64 - 1

SEARCH_RESOLUTION = 1_000_000
"""The share units (0.001 shares) at which the program's bisection stops."""
SEARCH_SPAN_IN_B = 20
"""The most shares that the program's bisection can find, in multiples of `b`."""

MAX_EXPONENT = 20 * SCALE
"""The largest argument of the program's exponential."""
_LN2 = 693_147_180
_SEARCH_ROUNDS = 50


class Curve(Struct, frozen=True):
    """A market's outstanding shares and liquidity parameter: a point on its price curve."""

    q_yes: int
    q_no: int
    b: int

    def price_yes(self) -> int:
        """`price_yes` here."""
        return price_yes(self.q_yes, self.q_no, self.b)

    def cost(self) -> int:
        """`cost` here."""
        return cost(self.q_yes, self.q_no, self.b)

    def cost_after(self, outcome: bool, shares: int) -> int:
        """`cost` once `shares` more of `outcome` are outstanding; OverflowError where 64 bits are too few."""
        _check_b(self.b)
        return _cost_after(self.q_yes, self.q_no, self.b, outcome, shares)

    def moved(self, outcome: bool, shares: int) -> Curve:
        """The curve with `shares` more of `outcome` outstanding; fewer where `shares` is negative."""
        if outcome:
            return Curve(self.q_yes + shares, self.q_no, self.b)
        return Curve(self.q_yes, self.q_no + shares, self.b)


def price_yes(q_yes: int, q_no: int, b: int) -> int:
    """The price of a YES share, from 0 to SCALE. The price of NO is `SCALE - price_yes`.

    Raises MarketMathError: InvalidBParameter, OverflowError, ExponentTooLarge.
    """
    _check_b(b)
    ratio = _exp(_div(abs(q_yes - q_no), b))
    if q_yes >= q_no:
        return _div(ratio, _u64(ratio + SCALE))
    return _div(SCALE, _u64(SCALE + ratio))


def cost(q_yes: int, q_no: int, b: int) -> int:
    """The cost function: the lamports that the market has taken in at `(q_yes, q_no)`, up to a constant.

    Raises MarketMathError: InvalidBParameter, OverflowError, ExponentTooLarge, UnderflowError.
    """
    _check_b(b)
    return _cost(q_yes, q_no, b)


def quote_buy(q_yes: int, q_no: int, b: int, outcome: bool, target_cost: int) -> tuple[int, int]:
    """`(cost, shares)` of the purchase that the program makes for `target_cost` lamports before fees.

    The program searches the shares by bisection with a resolution of 0.001 shares, so `cost` is slightly
    below or above `target_cost`. `outcome` True buys YES.

    Raises MarketMathError: InvalidBParameter, OverflowError, ExponentTooLarge, UnderflowError.
    """
    _check_b(b)
    before = _cost(q_yes, q_no, b)
    low, high = 0, _u64(SEARCH_SPAN_IN_B * b)
    for _ in range(_SEARCH_ROUNDS):
        if high - low <= SEARCH_RESOLUTION:
            break
        middle = low + (high - low) // 2
        price = _minus(_cost_after(q_yes, q_no, b, outcome, middle), before)
        if price < target_cost:
            low = middle + 1
        elif price > target_cost:
            high = middle
        else:
            low = middle
            break
    return _minus(_cost_after(q_yes, q_no, b, outcome, low), before), low


def quote_sell(q_yes: int, q_no: int, b: int, outcome: bool, shares: int) -> int:
    """The lamports before fees that the program pays for `shares`. `outcome` True sells YES.

    Raises MarketMathError: InsufficientShares (more than are outstanding), InvalidBParameter, OverflowError,
    ExponentTooLarge, UnderflowError.
    """
    outstanding = q_yes if outcome else q_no
    if shares > outstanding:
        raise MarketMathError(
            "InsufficientShares",
            f"This market has {outstanding} share units of {'YES' if outcome else 'NO'} in all, fewer than "
            f"the {shares} of this sale; choose fewer.",
        )
    _check_b(b)
    before = _cost(q_yes, q_no, b)
    after = _cost(q_yes - shares, q_no, b) if outcome else _cost(q_yes, q_no - shares, b)
    return _minus(before, after)


def _cost_after(q_yes: int, q_no: int, b: int, outcome: bool, shares: int) -> int:
    if outcome:
        return _cost(_u64(q_yes + shares), q_no, b)
    return _cost(q_yes, _u64(q_no + shares), b)


def _cost(q_yes: int, q_no: int, b: int) -> int:
    x, y = _div(q_yes, b), _div(q_no, b)
    larger, distance = (x, x - y) if x >= y else (y, y - x)
    tail = _ln(_u64(SCALE + _div(SCALE, _exp(distance))))
    return _mul(b, _u64(larger + tail))


def _exp(x: int) -> int:
    """e**x by its (2, 2) Padé fraction, accurate near 0 and defined up to 20."""
    if x > MAX_EXPONENT:
        raise MarketMathError("ExponentTooLarge")
    half, square = x // 2, _mul(x, x) // 12
    return _div(SCALE + half + square, SCALE + square - half)


def _ln(x: int) -> int:
    """ln x for x >= 1.0: powers of two are taken out, the rest is 2·artanh to the fifth order."""
    doublings = 0
    while x >= 2 * SCALE:
        x //= 2
        doublings += 1
    y = _div(x - SCALE, x + SCALE)
    square = _mul(y, y)
    cube = _mul(square, y)
    fifth = _mul(cube, square)
    return 2 * (y + cube // 3 + fifth // 5) + doublings * _LN2


def _check_b(b: int) -> None:
    if b < MIN_B:
        raise MarketMathError("InvalidBParameter")


def _mul(a: int, b: int) -> int:
    return _u64(a * b // SCALE)


def _div(a: int, b: int) -> int:
    return _u64(a * SCALE // b)


def _minus(a: int, b: int) -> int:
    if a < b:
        raise MarketMathError("UnderflowError")
    return a - b


def _u64(value: int) -> int:
    if value > U64_MAX:
        raise MarketMathError("OverflowError")
    return value
