"""What the program would do with a trade, to the lamport, before anybody signs it. Pure arithmetic.

Shares and prices have 9 decimals, money is lamports. A quote holds for the pool it was made from; the
program's own limits (`target_cost`, `min_proceeds`) protect the trader when the pool has moved since.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.trade_pricing import Curve, FeeRates

MIN_TRADE_LAMPORTS = 10_000
"""Below this the program answers TradeTooSmall."""

DEFAULT_MIN_PROCEEDS_BPS = 9_900
"""The part of its quote that a sale brings at least where the seller names no limit."""

_SEARCH_RESOLUTION = 1_000_000
_SEARCH_SPAN_IN_B = 20


class Pool(Struct, frozen=True):
    """All that a quote depends on."""

    curve: Curve
    rates: FeeRates

    def price_yes(self) -> int:
        """Fixed point, `lmsr.SCALE` = 1.0."""
        return lmsr.price_yes(self.curve.q_yes, self.curve.q_no, self.curve.b)

    def moved(self, outcome: bool, shares: int) -> Pool:
        """The pool with so many more shares of an outcome outstanding; fewer where `shares` is negative."""
        q_yes, q_no, b = self.curve.q_yes, self.curve.q_no, self.curve.b
        curve = Curve(q_yes + shares, q_no, b) if outcome else Curve(q_yes, q_no + shares, b)
        return Pool(curve, self.rates)


class Fees(Struct, frozen=True):
    """A trade's fees in lamports."""

    protocol: int
    resolver: int
    lp: int
    total: int


class Quote(Struct, frozen=True, kw_only=True):
    """A trade as the program would execute it now."""

    outcome: bool
    shares: int
    amount_lamports: int
    """What the curve asks or gives, before fees."""
    fees: Fees
    total_lamports: int
    """What the trader pays (buying, with fees) or receives (selling, after fees)."""
    price_yes_before: int
    price_yes_after: int


class BuyQuote(Quote, frozen=True, kw_only=True):
    target_cost_lamports: int
    """The argument of buy_shares: the most the buyer pays, and what decides how many shares that is."""


class SellQuote(Quote, frozen=True, kw_only=True):
    min_proceeds_lamports: int
    """The argument of sell_shares: the least the seller receives."""


def buy(pool: Pool, outcome: bool, target_cost_lamports: int) -> BuyQuote:
    """The purchase for at most `target_cost_lamports`, fees included.

    Raises MarketMathError: TradeTooSmall, SlippageExceeded (the fees are above the tenth that the program
    sets aside), and those of `lmsr.quote_buy`.
    """
    if target_cost_lamports < MIN_TRADE_LAMPORTS:
        raise MarketMathError("TradeTooSmall")
    curve = pool.curve
    budget = fees.budget_before_fees(target_cost_lamports)
    cost, shares = lmsr.quote_buy(curve.q_yes, curve.q_no, curve.b, outcome, budget)
    charged = _fees(cost, pool.rates)
    total = cost + charged.total
    if total > target_cost_lamports:
        raise MarketMathError("SlippageExceeded")
    return BuyQuote(
        outcome=outcome,
        shares=shares,
        amount_lamports=cost,
        fees=charged,
        total_lamports=total,
        price_yes_before=pool.price_yes(),
        price_yes_after=pool.moved(outcome, shares).price_yes(),
        target_cost_lamports=target_cost_lamports,
    )


def buy_at_least(pool: Pool, outcome: bool, shares: int) -> BuyQuote:
    """The cheapest purchase that gives `shares` or more.

    Raises MarketMathError: InsufficientLiquidity (more than the program's search can reach), and those of
    `buy`.
    """
    budget = _least_budget(pool.curve, outcome, shares)
    target = -(-budget * 11_000 // 10_000)
    return buy(pool, outcome, max(target, MIN_TRADE_LAMPORTS))


def sell(pool: Pool, outcome: bool, shares: int, min_proceeds_lamports: int | None = None) -> SellQuote:
    """The sale of `shares`. Without a limit it is DEFAULT_MIN_PROCEEDS_BPS of what the seller receives,
    rounded down to a lamport; 0 is no limit at all.

    Raises MarketMathError: TradeTooSmall, SlippageExceeded (it gives less than `min_proceeds_lamports`), and
    those of `lmsr.quote_sell`.
    """
    curve = pool.curve
    proceeds = lmsr.quote_sell(curve.q_yes, curve.q_no, curve.b, outcome, shares)
    if proceeds < MIN_TRADE_LAMPORTS:
        raise MarketMathError("TradeTooSmall")
    charged = _fees(proceeds, pool.rates)
    net = proceeds - charged.total
    if min_proceeds_lamports is None:
        min_proceeds_lamports = net * DEFAULT_MIN_PROCEEDS_BPS // 10_000
    if net < min_proceeds_lamports:
        raise MarketMathError("SlippageExceeded")
    return SellQuote(
        outcome=outcome,
        shares=shares,
        amount_lamports=proceeds,
        fees=charged,
        total_lamports=net,
        price_yes_before=pool.price_yes(),
        price_yes_after=pool.moved(outcome, -shares).price_yes(),
        min_proceeds_lamports=min_proceeds_lamports,
    )


def _least_budget(curve: Curve, outcome: bool, shares: int) -> int:
    """The smallest budget for which the program's bisection ends at `shares` or more.

    The bisection compares the budget with the cost at points of a fixed tree. Follow the path towards
    `shares`: where it turns down at `middle`, a budget of the cost there would stop at `middle`, which is
    enough, and any larger one ends higher still; where it turns up, the budget has to exceed the cost. So the
    answer is the cheapest of those stops, each no less than what the turns above it ask. That holds although
    the program's cost is not monotonic for tiny amounts.
    """
    before = lmsr.cost(curve.q_yes, curve.q_no, curve.b)
    low, high = 0, _SEARCH_SPAN_IN_B * curve.b
    if shares > high:
        raise MarketMathError("InsufficientLiquidity")
    floor, best = 0, None
    while high - low > _SEARCH_RESOLUTION:
        middle = low + (high - low) // 2
        q_yes = curve.q_yes + middle if outcome else curve.q_yes
        q_no = curve.q_no if outcome else curve.q_no + middle
        price = lmsr.cost(q_yes, q_no, curve.b) - before
        if price < 0:
            raise MarketMathError("UnderflowError")
        if middle < shares:
            low, floor = middle + 1, max(floor, price + 1)
        else:
            stop = max(floor, price)
            high, best = middle, stop if best is None else min(best, stop)
    if low >= shares:
        return floor if best is None else min(best, floor)
    if best is None:
        raise MarketMathError("InsufficientLiquidity")
    return best


def _fees(amount: int, rates: FeeRates) -> Fees:
    return Fees(*fees.split(amount, rates.protocol_bps, rates.resolver_bps, rates.lp_bps))
