"""What a trader asks for, and the limits that hold although others trade before the trade lands.

The program knows one limit for each kind of trade: the most that a purchase costs (`target_cost`, which also
decides how many shares it brings), and the least that a sale brings (`min_proceeds`). It has no limit for the
shares of a purchase: who sends the transaction has to compare them with `min_shares`.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market import largest, lmsr, quotes
from zmartd.market.errors import Limit, MarketMathError, TradeTerms
from zmartd.market.fees import BPS
from zmartd.market.quotes import BuyQuote, Pool, SellQuote

DEFAULT_SLIPPAGE_BPS = 100
MAX_SLIPPAGE_BPS = 5_000
"""The largest slippage: whoever accepts more states the limit itself."""

_TOO_LARGE = frozenset({"ExponentTooLarge", "OverflowError", "InsufficientLiquidity"})


class Purchase(Struct, frozen=True, kw_only=True, tag="buy"):
    """An order to buy: either for `target_cost` lamports, fees included, or at least `shares`.

    `min_shares` and `max_cost` are the buyer's own limits. Where one is None it follows from the slippage.
    """

    outcome: bool
    target_cost: int | None = None
    shares: int | None = None
    slippage_bps: int = DEFAULT_SLIPPAGE_BPS
    min_shares: int | None = None
    max_cost: int | None = None


class Sale(Struct, frozen=True, kw_only=True, tag="sell"):
    """An order to sell `shares`; `min_proceeds` is the seller's own limit, after fees, 0 for none."""

    outcome: bool
    shares: int
    slippage_bps: int = DEFAULT_SLIPPAGE_BPS
    min_proceeds: int | None = None


Order = Purchase | Sale


class ProtectedPurchase(Struct, frozen=True):
    """A purchase with its limits: the least shares that it brings, and the most lamports that it costs."""

    quote: BuyQuote
    min_shares: int
    max_cost: int


class LimitNotMet(MarketMathError):
    """The trader's own limit is beyond the present price."""

    def __init__(self, limit: Limit, wanted: int, offered: int, unit: str) -> None:
        """`limit` is the limit's name, `offered` what the market gives or asks for instead of `wanted`."""
        terms = TradeTerms(limit=limit, offered=str(offered), **{limit: str(wanted)})
        super().__init__(
            "SlippageExceeded",
            f"At the present price this trade comes to {offered} {unit}, and {limit} is {wanted}: change "
            f"{limit} or the amount, or wait for another price.",
            terms,
        )


def protect_purchase(pool: Pool, order: Purchase) -> ProtectedPurchase:
    """The purchase as the program would execute it now, with its limits.

    One for `target_cost` costs that at most, and brings its quote's shares less the slippage. One of `shares`
    brings these at least. So that it still does when the price rises, its transaction may spend the slippage
    more than they cost now, and `max_cost` at most; the program spends all of it, and gives more shares while
    the price stays.

    Raises LimitNotMet, and MarketMathError: TradeTooLarge, and those of `quotes.buy_for_cost`.
    """
    try:
        if order.target_cost is not None:
            quote = quotes.buy_for_cost(pool, order.outcome, order.target_cost)
            floor, ceiling = decreased(quote.shares, order.slippage_bps), order.target_cost
        else:
            assert order.shares is not None, "a purchase has one of target_cost and shares"
            quote, ceiling = _buy_with_room(pool, order.shares, order)
            floor = order.shares
    except MarketMathError as error:
        if error.code not in _TOO_LARGE:
            raise
        raise _purchase_too_large(pool, order) from error
    if order.min_shares is not None:
        floor = order.min_shares
        if quote.shares < floor:
            raise LimitNotMet("min_shares", floor, quote.shares, "share units")
    return ProtectedPurchase(quote, floor, ceiling)


def protect_sale(pool: Pool, order: Sale) -> SellQuote:
    """The sale as the program would execute it now, with the least proceeds that it may bring.

    Raises LimitNotMet, and MarketMathError: TradeTooLarge, and those of `quotes.sell`.
    """
    try:
        quote = quotes.sell(pool, order.outcome, order.shares, 0)
    except MarketMathError as error:
        if error.code not in _TOO_LARGE:
            raise
        most = largest.largest_sale(pool.curve, order.outcome)
        raise _too_large(order.outcome, most, "share units", "sale") from error
    floor = order.min_proceeds
    if floor is None:
        floor = decreased(quote.total_lamports, order.slippage_bps)
    elif quote.total_lamports < floor:
        raise LimitNotMet("min_proceeds", floor, quote.total_lamports, "lamports")
    return quotes.sell(pool, order.outcome, order.shares, floor)


def require_shares(held: int, outcome: bool, shares: int) -> None:
    """Raises MarketMathError InsufficientShares where a wallet that holds `held` wants to sell more."""
    if shares > held:
        name = "YES" if outcome else "NO"
        instead = "sell at most that many" if held > 0 else "it has none to sell"
        raise MarketMathError(
            "InsufficientShares",
            f"This wallet holds {held} share units of {name} in this market, not {shares}: {instead}.",
            TradeTerms(shares=str(shares), shares_held=str(held)),
        )


def decreased(amount: int, slippage_bps: int) -> int:
    """`amount` less the slippage: the least that a trader accepts, rounded up in favour of the trader."""
    return -(-amount * (BPS - slippage_bps) // BPS)


def increased(amount: int, slippage_bps: int) -> int:
    """`amount` and the slippage: the most that a trader accepts, rounded down in favour of the trader."""
    return amount * (BPS + slippage_bps) // BPS


def _buy_with_room(pool: Pool, shares: int, order: Purchase) -> tuple[BuyQuote, int]:
    """The purchase of at least `shares` that may spend the slippage more, and the most that it may cost."""
    outcome = order.outcome
    exact = quotes.buy_for_shares(pool, outcome, shares)
    room = min(increased(exact.target_cost_lamports, order.slippage_bps), lmsr.U64_MAX)
    ceiling = room if order.max_cost is None else order.max_cost
    if exact.target_cost_lamports > ceiling:
        raise LimitNotMet("max_cost", ceiling, exact.target_cost_lamports, "lamports")
    most = largest.largest_target_cost(pool.curve, outcome)
    room = min(room, ceiling, lmsr.U64_MAX if most is None else most)
    try:
        return quotes.buy_for_cost(pool, outcome, room), ceiling
    except MarketMathError:  # in large markets rounding can make a purchase dearer than its target cost
        return exact, ceiling


def _purchase_too_large(pool: Pool, order: Purchase) -> MarketMathError:
    most, unit = largest.largest_target_cost(pool.curve, order.outcome), "lamports"
    if order.shares is not None:
        unit = "share units"
        most = _shares_for(pool, order.outcome, most)
    return _too_large(order.outcome, most or 0, unit, "purchase")


def _shares_for(pool: Pool, outcome: bool, target_cost: int | None) -> int:
    try:
        return quotes.buy_for_cost(pool, outcome, lmsr.U64_MAX if target_cost is None else target_cost).shares
    except MarketMathError:
        return 0


def _too_large(outcome: bool, most: int, unit: str, trade: str) -> MarketMathError:
    name = "YES" if outcome else "NO"
    return MarketMathError(
        "TradeTooLarge",
        f"The largest {trade} of {name} that this market can take at its present price is {most} {unit}: "
        "trade less at a time.",
        TradeTerms(largest_trade_here=str(most)),
    )
