"""What a holding has cost, what it is worth, and what has come of it: integer lamports throughout.

The cost basis is by the average cost method (see sql/0012_cost_basis.sql): what the shares that are still
held have cost with fees. Profit is realized by sales, by the claim, and by an outcome that makes the shares
worthless; everything else is unrealized. Both together are always what was taken out, plus what the holding
is worth, minus what was paid in.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market import fees, lmsr, payouts
from zmartd.market.errors import MarketMathError
from zmartd.market.lifecycle import MarketState
from zmartd.market.trade_pricing import FeeRates


class Holding(Struct, frozen=True, kw_only=True):
    """A wallet's shares in one market, and the money that went in and out."""

    shares_yes: int
    shares_no: int
    cost_yes_lamports: int
    """What the YES shares still held have cost, by the average cost method."""
    cost_no_lamports: int
    invested_lamports: int
    """All purchases with fees."""
    returned_lamports: int
    """All sales after fees."""
    claimed_lamports: int
    has_claimed: bool


class HeldMarket(Struct, frozen=True, kw_only=True):
    """What a holding's worth depends on."""

    state: MarketState
    final_outcome: bool | None
    price_yes: int
    current_liquidity_lamports: int
    refundable_lamports: int
    """What all holders together paid in and did not take out; asked for only without an outcome."""
    shares_yes: int
    """All shares there are, the seed shares that nobody owns included."""
    shares_no: int
    b_parameter: int | None
    """None while the market's creation is unknown."""
    rates: FeeRates


class Sale(Struct, frozen=True):
    """What the program would pay for all shares now, YES sold first, in lamports."""

    before_fees_lamports: int
    after_fees_lamports: int


class Valuation(Struct, frozen=True, kw_only=True):
    """A holding, valued. All in lamports."""

    cost_yes_lamports: int
    """0 once the shares are claimed or worthless."""
    cost_no_lamports: int
    value_lamports: int
    """At the price while there is one that counts; what can be claimed once the market is finalized."""
    at_price_yes_lamports: int | None
    """The shares at the market's price, as if selling did not move it. None when the market is over."""
    at_price_no_lamports: int | None
    sale: Sale | None
    """None while nothing can be sold."""
    claimable_lamports: int
    realized_lamports: int
    unrealized_lamports: int

    @property
    def cost_lamports(self) -> int:
        return self.cost_yes_lamports + self.cost_no_lamports

    @property
    def profit_lamports(self) -> int:
        return self.realized_lamports + self.unrealized_lamports


_PRICED = frozenset({MarketState.ACTIVE, MarketState.RESOLVING, MarketState.DISPUTED})


def value(holding: Holding, market: HeldMarket) -> Valuation:
    """`holding` in `market` as it is now."""
    claimable = _claimable(holding, market)
    over = holding.has_claimed or _is_worthless(holding, market)
    cost_yes = 0 if over else holding.cost_yes_lamports
    cost_no = 0 if over else holding.cost_no_lamports
    at_yes = at_no = None
    worth = claimable
    if market.state in _PRICED and not holding.has_claimed:
        at_yes = max(holding.shares_yes, 0) * market.price_yes // lmsr.SCALE
        at_no = max(holding.shares_no, 0) * (lmsr.SCALE - market.price_yes) // lmsr.SCALE
        worth = at_yes + at_no
    cost = cost_yes + cost_no
    taken_out = holding.returned_lamports + holding.claimed_lamports
    return Valuation(
        cost_yes_lamports=cost_yes,
        cost_no_lamports=cost_no,
        value_lamports=worth,
        at_price_yes_lamports=at_yes,
        at_price_no_lamports=at_no,
        sale=_sale(holding, market) if market.state is MarketState.ACTIVE else None,
        claimable_lamports=claimable,
        realized_lamports=taken_out + cost - holding.invested_lamports,
        unrealized_lamports=worth - cost,
    )


def _claimable(holding: Holding, market: HeldMarket) -> int:
    if market.state is not MarketState.FINALIZED or holding.has_claimed:
        return 0
    if market.final_outcome is None:
        return payouts.refund(
            holding.invested_lamports,
            holding.returned_lamports,
            market.refundable_lamports,
            market.current_liquidity_lamports,
        )
    total = market.shares_yes if market.final_outcome else market.shares_no
    return payouts.claim(_winning_shares(holding, market), total, market.current_liquidity_lamports)


def _is_worthless(holding: Holding, market: HeldMarket) -> bool:
    """Whether the market ended with nothing for this holder."""
    if market.state is not MarketState.FINALIZED:
        return False
    if market.final_outcome is None:
        return holding.invested_lamports <= holding.returned_lamports
    return _winning_shares(holding, market) <= 0


def _winning_shares(holding: Holding, market: HeldMarket) -> int:
    return holding.shares_yes if market.final_outcome else holding.shares_no


def _sale(holding: Holding, market: HeldMarket) -> Sale | None:
    if market.b_parameter is None:
        return None
    q_yes, q_no, b = market.shares_yes, market.shares_no, market.b_parameter
    yes, no = max(holding.shares_yes, 0), max(holding.shares_no, 0)
    try:
        proceeds = (
            lmsr.quote_sell(q_yes, q_no, b, True, yes) if yes else 0,
            lmsr.quote_sell(q_yes - yes, q_no, b, False, no) if no else 0,
        )
    except MarketMathError:
        return None
    rates = market.rates
    charged = sum(
        fees.split(one, rates.protocol_bps, rates.resolver_bps, rates.lp_bps)[3] for one in proceeds
    )
    return Sale(sum(proceeds), sum(proceeds) - charged)
