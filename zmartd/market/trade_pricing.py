"""The amount before fees of each trade of a market, inferred from the trade events alone.

A trade event carries the shares, what the trader paid or received with fees, and the price after the trade.
It lacks the amount before fees, which changes the pool and the volume: that is the difference of the curve's
cost before and after the trade. So the trades have to be priced in the order of the chain. The order of slots
is known. The order within a slot may not be, but only the right order gives every trade the price and the
fees of its event. The result depends on the set of trades alone, not on the order in which they were indexed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from zmartd.market import fees
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import Curve

_MAX_STEPS_PER_SLOT = 20_000


class UnpricedTrade(Struct, frozen=True):
    """One buy or sell with what its event says."""

    signature: str
    ordinal: int
    """The event's position among the program's events in the transaction, from 0."""
    slot: int
    index_in_block: int | None
    buys: bool
    outcome: bool
    shares: int
    cash_lamports: int
    """What the buyer paid with fees, or what the seller received after fees."""
    price_yes_after: int
    rates: FeeRates
    other_rates: tuple[FeeRates, ...] = ()
    """Those that may have been in force instead: they were set in the trade's slot, nobody knows whether
    before it."""

    @property
    def shares_change(self) -> int:
        """By how much the trade changes the outstanding shares of its outcome."""
        return self.shares if self.buys else -self.shares


class PricedTrade(Struct, frozen=True):
    """A trade with its amount and fees; `exact` is False while an earlier trade is unknown."""

    trade: UnpricedTrade
    amount_lamports: int
    protocol_fee_lamports: int
    resolver_fee_lamports: int
    lp_fee_lamports: int
    exact: bool


def curve_after(curve: Curve, trade: UnpricedTrade) -> Curve:
    """The curve after `trade`, where `curve` is the one before it."""
    return curve.moved(trade.outcome, trade.shares_change)


def curve_before(curve: Curve, trade: UnpricedTrade) -> Curve:
    """The curve before `trade`, where `curve` is the one after it."""
    return curve.moved(trade.outcome, -trade.shares_change)


def price_trades(start: Curve | None, trades: Sequence[UnpricedTrade]) -> list[PricedTrade]:
    """Price `trades` of one market from `start`, the curve just before the earliest slot among them.

    `start` is None while the market's creation is unknown; then every amount is an estimate, off by at most
    one lamport.
    """
    priced: list[PricedTrade] = []
    ordered = sorted(trades, key=lambda trade: (trade.slot, trade.signature, trade.ordinal))
    for _, in_slot in groupby(ordered, key=lambda trade: trade.slot):
        transactions = [list(group) for _, group in groupby(in_slot, key=lambda trade: trade.signature)]
        slot = None if start is None else _price_slot(start, transactions)
        if slot is None:
            unordered = [trade for transaction in transactions for trade in transaction]
            priced.extend(_estimate(trade) for trade in unordered)
            if start is not None:
                for trade in unordered:
                    start = curve_after(start, trade)
        else:
            slot_priced, start = slot
            priced.extend(slot_priced)
    return priced


def _price_slot(
    curve: Curve, transactions: list[list[UnpricedTrade]]
) -> tuple[list[PricedTrade], Curve] | None:
    """Price the transactions of one slot in an order in which every trade fits; None when there is none."""
    if len(transactions) > 1 and all(group[0].index_in_block is not None for group in transactions):
        transactions = sorted(transactions, key=lambda group: group[0].index_in_block or 0)
    as_given = _price_in_order(curve, [trade for transaction in transactions for trade in transaction])
    if as_given is not None:
        return as_given
    steps = 0
    # Depth first without recursion: each level is (curve, priced so far, transactions still to be placed).
    stack: list[tuple[Curve, list[PricedTrade], list[list[UnpricedTrade]]]] = [(curve, [], transactions)]
    while stack:
        here, priced, remaining = stack.pop()
        if not remaining:
            return priced, here
        for position in range(len(remaining) - 1, -1, -1):
            steps += 1
            if steps > _MAX_STEPS_PER_SLOT:
                return None
            following = _price_in_order(here, remaining[position])
            if following is not None:
                rest = remaining[:position] + remaining[position + 1 :]
                stack.append((following[1], priced + following[0], rest))
    return None


def _price_in_order(curve: Curve, trades: list[UnpricedTrade]) -> tuple[list[PricedTrade], Curve] | None:
    """Price `trades` one after the other; None when one of them cannot have been made there."""
    priced: list[PricedTrade] = []
    for trade in trades:
        after = curve_after(curve, trade)
        one = _price(curve, after, trade)
        if one is None:
            return None
        priced.append(one)
        curve = after
    return priced, curve


def _price(before: Curve, after: Curve, trade: UnpricedTrade) -> PricedTrade | None:
    """Price the trade between two points of the curve; None when it cannot have been made there."""
    if min(after.q_yes, after.q_no) < 0:
        return None
    try:
        if after.price_yes() != trade.price_yes_after:
            return None
        low, high = (before, after) if trade.buys else (after, before)
        amount = high.cost() - low.cost()
    except MarketMathError:
        return None
    if amount < 0:
        return None
    charged = trade.cash_lamports - amount if trade.buys else amount - trade.cash_lamports
    for rates in (trade.rates, *trade.other_rates):
        if fees.trade_fees(amount, rates).total == charged:
            return _with_fees(trade, amount, rates, exact=True)
    return None


def _estimate(trade: UnpricedTrade) -> PricedTrade:
    """Estimate the amount from the cash alone. Two neighbouring amounts can give a sale the same proceeds."""
    total_bps = trade.rates.total_bps
    parts = fees.BPS + total_bps if trade.buys else max(fees.BPS - total_bps, 1)
    nearest = trade.cash_lamports * fees.BPS // parts
    for amount in range(max(nearest - 2, 0), nearest + 3):
        charged = amount * total_bps // fees.BPS
        if amount + (charged if trade.buys else -charged) == trade.cash_lamports:
            return _with_fees(trade, amount, trade.rates, exact=False)
    return _with_fees(trade, nearest, trade.rates, exact=False)


def _with_fees(trade: UnpricedTrade, amount: int, rates: FeeRates, *, exact: bool) -> PricedTrade:
    protocol, resolver, lp, _ = fees.trade_fees(amount, rates)
    return PricedTrade(trade, amount, protocol, resolver, lp, exact)
