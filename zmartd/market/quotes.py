"""Quotes: what the program would do with a trade, to the lamport. Pure arithmetic.

Shares and prices have nine decimals, money is lamports. A quote holds for the pool from which it was made.
`zmartd.market.orders` says what protects the trader when the pool moves.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates, TradeFees
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import Curve

MIN_TRADE_LAMPORTS = 10_000
"""Below this the program fails with TradeTooSmall."""


class Pool(Struct, frozen=True):
    """Everything that a quote depends on."""

    curve: Curve
    rates: FeeRates

    def price_yes(self) -> int:
        """The price of YES, from 0 to `lmsr.SCALE`."""
        return self.curve.price_yes()

    def moved(self, outcome: bool, shares: int) -> Pool:
        """The pool with `shares` more of `outcome` outstanding; fewer where `shares` is negative."""
        return Pool(self.curve.moved(outcome, shares), self.rates)


class Quote(Struct, frozen=True, kw_only=True):
    """A trade as the program would execute it now."""

    outcome: bool
    shares: int
    amount_lamports: int
    """The cost or the proceeds on the curve, before fees."""
    fees: TradeFees
    total_lamports: int
    """What a buyer pays with fees, or what a seller receives after fees."""
    price_yes_before: int
    price_yes_after: int


class BuyQuote(Quote, frozen=True, kw_only=True):
    target_cost_lamports: int
    """The argument of buy_shares: the most that the buyer pays. It also decides the number of shares."""


class SellQuote(Quote, frozen=True, kw_only=True):
    min_proceeds_lamports: int
    """The argument of sell_shares: the least that the seller receives."""


def require_trading(state: MarketState, *, is_paused: bool) -> None:
    """The program's first checks of a trade, before those of a quote.

    Raises MarketMathError: InvalidMarketState, ProtocolPaused.
    """
    if state is not MarketState.ACTIVE:
        raise MarketMathError("InvalidMarketState")
    if is_paused:
        raise MarketMathError("ProtocolPaused")


def buy_for_cost(pool: Pool, outcome: bool, target_cost_lamports: int) -> BuyQuote:
    """The purchase for at most `target_cost_lamports`, fees included.

    Raises MarketMathError: TradeTooSmall, OverflowError (no argument of 64 bits), SlippageExceeded (the fees
    are above the tenth that the program sets aside), and those of `lmsr.quote_buy`.
    """
    if target_cost_lamports < MIN_TRADE_LAMPORTS:
        raise MarketMathError("TradeTooSmall")
    if target_cost_lamports > lmsr.U64_MAX:
        raise MarketMathError("OverflowError")
    curve = pool.curve
    budget = fees.budget_before_fees(target_cost_lamports)
    cost, shares = lmsr.quote_buy(curve.q_yes, curve.q_no, curve.b, outcome, budget)
    charged = fees.trade_fees(cost, pool.rates)
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


def buy_for_shares(pool: Pool, outcome: bool, shares: int) -> BuyQuote:
    """The cheapest purchase of `shares` or more.

    Raises MarketMathError: InsufficientLiquidity (more than the program's search can reach), and those of
    `buy_for_cost`.
    """
    curve = pool.curve
    target_cost = fees.smallest_target_cost(_smallest_budget(curve, outcome, shares))
    try:
        return buy_for_cost(pool, outcome, max(target_cost, MIN_TRADE_LAMPORTS))
    except MarketMathError as error:
        if error.code != "SlippageExceeded":
            raise
    # The search can end a step of the curve above its budget: then the fees of that step are missing.
    budget = fees.budget_before_fees(max(target_cost, MIN_TRADE_LAMPORTS))
    cost, _ = lmsr.quote_buy(curve.q_yes, curve.q_no, curve.b, outcome, budget)
    return buy_for_cost(pool, outcome, cost + fees.trade_fees(cost, pool.rates).total)


def sell(pool: Pool, outcome: bool, shares: int, min_proceeds_lamports: int) -> SellQuote:
    """The sale of `shares` for at least `min_proceeds_lamports`, after fees.

    Raises MarketMathError: TradeTooSmall, SlippageExceeded (the proceeds after fees are below
    `min_proceeds_lamports`), and those of `lmsr.quote_sell`.
    """
    curve = pool.curve
    proceeds = lmsr.quote_sell(curve.q_yes, curve.q_no, curve.b, outcome, shares)
    if proceeds < MIN_TRADE_LAMPORTS:
        raise MarketMathError("TradeTooSmall")
    charged = fees.trade_fees(proceeds, pool.rates)
    net = proceeds - charged.total
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


def _smallest_budget(curve: Curve, outcome: bool, shares: int) -> int:
    """The smallest budget for which the program's bisection ends at `shares` or more.

    The bisection compares the budget with the cost at the points of a fixed tree. Follow the path towards
    `shares`. Where it turns down at `middle`, a budget of the cost there would stop at `middle`, which is
    enough, and any larger budget ends higher still. Where it turns up, the budget has to exceed the cost. So
    the answer is the cheapest of those stops, each no less than what the upward turns above it require. This
    holds although the program's cost is not monotonic for tiny amounts.
    """
    before = curve.cost()
    low, high = 0, lmsr.SEARCH_SPAN_IN_B * curve.b
    if shares > high:
        raise MarketMathError("InsufficientLiquidity")
    floor, best = 0, None
    while high - low > lmsr.SEARCH_RESOLUTION:
        middle = low + (high - low) // 2
        price = curve.moved(outcome, middle).cost() - before
        if price < 0:  # every budget that comes here fails
            if best is None:
                raise MarketMathError("UnderflowError")
            return best
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
