"""What each trade of a market cost before fees, recovered from the trade events alone.

A trade event carries the shares, what the trader paid or received with fees, and the price afterwards; the
amount before fees, which moves the pool and the volume, is on the curve between the shares before and
after. So the trades have to be walked in the order of the chain. That order is known between slots; inside
a slot it may not be, but only the true order meets every trade's price and fees. The result depends on the
set of trades alone, not on the order in which they were learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError

_MAX_STEPS_PER_SLOT = 20_000


class FeeRates(Struct, frozen=True):
    """Basis points in force when a trade was made."""

    protocol_bps: int
    resolver_bps: int
    lp_bps: int

    @property
    def total_bps(self) -> int:
        return self.protocol_bps + self.resolver_bps + self.lp_bps


INITIAL_RATES = FeeRates(protocol_bps=300, resolver_bps=200, lp_bps=500)
"""What initialize_global_config sets, whatever the caller asks for."""


def told_rates(protocol_bps: int | None, resolver_bps: int | None, lp_bps: int | None) -> FeeRates:
    """The rates, of which only changes are told: what was never told is as it was at the beginning."""
    initial = INITIAL_RATES
    return FeeRates(
        initial.protocol_bps if protocol_bps is None else protocol_bps,
        initial.resolver_bps if resolver_bps is None else resolver_bps,
        initial.lp_bps if lp_bps is None else lp_bps,
    )


class Trade(Struct, frozen=True):
    """One buy or sell as its event tells it."""

    signature: str
    ordinal: int
    """Position among the program's events of the transaction."""
    slot: int
    index_in_block: int | None
    buys: bool
    outcome: bool
    shares: int
    cash_lamports: int
    """What a buyer paid with fees, or what a seller received after fees."""
    price_yes_after: int
    rates: FeeRates


class Curve(Struct, frozen=True):
    """A market's outstanding shares and liquidity parameter."""

    q_yes: int
    q_no: int
    b: int

    def after(self, trade: Trade) -> Curve:
        change = trade.shares if trade.buys else -trade.shares
        if trade.outcome:
            return Curve(self.q_yes + change, self.q_no, self.b)
        return Curve(self.q_yes, self.q_no + change, self.b)

    def before(self, trade: Trade) -> Curve:
        change = -trade.shares if trade.buys else trade.shares
        if trade.outcome:
            return Curve(self.q_yes + change, self.q_no, self.b)
        return Curve(self.q_yes, self.q_no + change, self.b)


class Priced(Struct, frozen=True):
    """A trade with its amount and fees; `exact` is False while an earlier trade is still unknown."""

    trade: Trade
    amount_lamports: int
    protocol_fee_lamports: int
    resolver_fee_lamports: int
    lp_fee_lamports: int
    exact: bool


def walk(start: Curve | None, trades: Sequence[Trade]) -> list[Priced]:
    """Price `trades` of one market from `start`, the curve just before the earliest slot among them.

    `start` is None while the market's creation is unknown; then every amount is an estimate, off by at most
    one lamport, and not exact.
    """
    priced: list[Priced] = []
    ordered = sorted(trades, key=lambda trade: (trade.slot, trade.signature, trade.ordinal))
    for _, in_slot in groupby(ordered, key=lambda trade: trade.slot):
        transactions = [list(group) for _, group in groupby(in_slot, key=lambda trade: trade.signature)]
        settled = None if start is None else _settle(start, transactions)
        if settled is None:
            flat = [trade for transaction in transactions for trade in transaction]
            priced.extend(_estimate(trade) for trade in flat)
            if start is not None:
                for trade in flat:
                    start = start.after(trade)
        else:
            slot_priced, start = settled
            priced.extend(slot_priced)
    return priced


def _settle(curve: Curve, transactions: list[list[Trade]]) -> tuple[list[Priced], Curve] | None:
    """The transactions of one slot in an order in which every trade fits, or None when there is none."""
    if len(transactions) > 1 and all(group[0].index_in_block is not None for group in transactions):
        transactions = sorted(transactions, key=lambda group: group[0].index_in_block or 0)
    straight = _fit(curve, [trade for transaction in transactions for trade in transaction])
    if straight is not None:
        return straight
    steps = 0
    # Depth first without recursion: each level is (curve, priced so far, transactions still to place).
    stack: list[tuple[Curve, list[Priced], list[list[Trade]]]] = [(curve, [], transactions)]
    while stack:
        here, priced, remaining = stack.pop()
        if not remaining:
            return priced, here
        for position in range(len(remaining) - 1, -1, -1):
            steps += 1
            if steps > _MAX_STEPS_PER_SLOT:
                return None
            fitted = _fit(here, remaining[position])
            if fitted is not None:
                rest = remaining[:position] + remaining[position + 1 :]
                stack.append((fitted[1], priced + fitted[0], rest))
    return None


def _fit(curve: Curve, transaction: list[Trade]) -> tuple[list[Priced], Curve] | None:
    priced: list[Priced] = []
    for trade in transaction:
        after = curve.after(trade)
        one = _price(curve, after, trade)
        if one is None:
            return None
        priced.append(one)
        curve = after
    return priced, curve


def _price(before: Curve, after: Curve, trade: Trade) -> Priced | None:
    """The trade's amount between two points of the curve, or None if it cannot have been made there."""
    if min(after.q_yes, after.q_no) < 0:
        return None
    try:
        if lmsr.price_yes(after.q_yes, after.q_no, after.b) != trade.price_yes_after:
            return None
        low, high = (before, after) if trade.buys else (after, before)
        amount = lmsr.cost(high.q_yes, high.q_no, high.b) - lmsr.cost(low.q_yes, low.q_no, low.b)
    except MarketMathError:
        return None
    if amount < 0:
        return None
    priced = _with_fees(trade, amount, exact=True)
    charged = trade.cash_lamports - amount if trade.buys else amount - trade.cash_lamports
    total = priced.protocol_fee_lamports + priced.resolver_fee_lamports + priced.lp_fee_lamports
    return priced if charged == total else None


def _estimate(trade: Trade) -> Priced:
    """The amount from the money alone: for a sale two neighbouring amounts can give the same proceeds."""
    total_bps = trade.rates.total_bps
    parts = fees.BPS + total_bps if trade.buys else max(fees.BPS - total_bps, 1)
    nearest = trade.cash_lamports * fees.BPS // parts
    for amount in range(max(nearest - 2, 0), nearest + 3):
        charged = amount * total_bps // fees.BPS
        if amount + (charged if trade.buys else -charged) == trade.cash_lamports:
            return _with_fees(trade, amount, exact=False)
    return _with_fees(trade, nearest, exact=False)


def _with_fees(trade: Trade, amount: int, *, exact: bool) -> Priced:
    rates = trade.rates
    protocol, resolver, lp, _ = fees.split(amount, rates.protocol_bps, rates.resolver_bps, rates.lp_bps)
    return Priced(trade, amount, protocol, resolver, lp, exact)
