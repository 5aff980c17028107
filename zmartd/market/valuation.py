"""What a position has cost, is worth and pays out, and its profit: integer lamports throughout.

The cost basis is by the average cost method (see sql/0012_cost_basis.sql): what the shares still held have
cost with fees. Sales, the claim, and an outcome that makes the shares worthless realize profit; the rest is
unrealized. Both together are always what was taken out, plus what the position is worth, minus what was paid
in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from msgspec import Struct

from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates
from zmartd.market.lifecycle import MarketState


class PositionFigures(Struct, frozen=True, kw_only=True):
    """A wallet's shares in one market, and the lamports that went in and out."""

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


class MarketFigures(Struct, frozen=True, kw_only=True):
    """What the value of a position depends on in its market."""

    state: MarketState
    final_outcome: bool | None
    price_yes: int
    current_liquidity_lamports: int
    refundable_lamports: int
    """What all holders together paid in and did not take out. Used only where there is no outcome."""
    shares_yes: int
    """All outstanding shares, including the seed shares that nobody owns."""
    shares_no: int
    b_parameter: int | None
    """None while the market's creation is unknown."""
    rates: FeeRates


class SaleProceeds(Struct, frozen=True):
    """What the program would pay for all shares now, YES sold first, in lamports."""

    before_fees_lamports: int
    after_fees_lamports: int


class Valuation(Struct, frozen=True, kw_only=True):
    """The value and the profit of a position, in lamports."""

    cost_yes_lamports: int
    """0 once the shares are claimed or worthless."""
    cost_no_lamports: int
    value_lamports: int
    """The shares at the market's price while it has one; what can be claimed once it is finalized."""
    at_price_yes_lamports: int | None
    """The shares at the market's price, as if selling did not move it. None without a price, or after the
    claim."""
    at_price_no_lamports: int | None
    sale: SaleProceeds | None
    """None while the shares cannot be sold, and where it was not asked for."""
    claimable_lamports: int
    realized_lamports: int
    unrealized_lamports: int

    @property
    def cost_lamports(self) -> int:
        return self.cost_yes_lamports + self.cost_no_lamports

    @property
    def profit_lamports(self) -> int:
        return self.realized_lamports + self.unrealized_lamports


_KEPT_PROCEEDS: Final = 2**14
"""Sales that are quoted once, as long as nobody trades in their markets: some megabytes."""
_PRICED = frozenset({MarketState.ACTIVE, MarketState.RESOLVING, MarketState.DISPUTED})


def value_position(position: PositionFigures, market: MarketFigures, *, with_sale: bool = True) -> Valuation:
    """The valuation of `position` in `market` as both are now; without the sale it takes half as long."""
    claimable = _claimable(position, market)
    closed = position.has_claimed or _is_worthless(position, market)
    cost_yes = 0 if closed else position.cost_yes_lamports
    cost_no = 0 if closed else position.cost_no_lamports
    at_yes = at_no = None
    value = claimable
    if market.state in _PRICED and not position.has_claimed:
        at_yes = max(position.shares_yes, 0) * market.price_yes // lmsr.SCALE
        at_no = max(position.shares_no, 0) * (lmsr.SCALE - market.price_yes) // lmsr.SCALE
        value = at_yes + at_no
    cost = cost_yes + cost_no
    taken_out = position.returned_lamports + position.claimed_lamports
    return Valuation(
        cost_yes_lamports=cost_yes,
        cost_no_lamports=cost_no,
        value_lamports=value,
        at_price_yes_lamports=at_yes,
        at_price_no_lamports=at_no,
        sale=_sale(position, market) if with_sale and market.state is MarketState.ACTIVE else None,
        claimable_lamports=claimable,
        realized_lamports=taken_out + cost - position.invested_lamports,
        unrealized_lamports=value - cost,
    )


def winnings(winning_shares: int, total_winning_shares: int, current_liquidity_lamports: int) -> int:
    """A winner's part of the pool in lamports, as the program computes it.

    It is proportional to the shares; the seed shares that nobody owns count in the total.
    """
    if winning_shares <= 0 or total_winning_shares <= 0:
        return 0
    return winning_shares * current_liquidity_lamports // total_winning_shares


def refund(
    invested_lamports: int, returned_lamports: int, refundable_lamports: int, current_liquidity_lamports: int
) -> int:
    """What a holder gets back from a market without an outcome, in lamports, as the program computes it.

    That is what the holder paid in more than it took out. `refundable_lamports` is the sum of this over all
    holders; where the pool holds less, each gets a proportional part.
    """
    owed = max(invested_lamports - returned_lamports, 0)
    if not owed or refundable_lamports <= current_liquidity_lamports:
        return owed
    return owed * current_liquidity_lamports // refundable_lamports


def _claimable(position: PositionFigures, market: MarketFigures) -> int:
    if market.state is not MarketState.FINALIZED or position.has_claimed:
        return 0
    if market.final_outcome is None:
        return refund(
            position.invested_lamports,
            position.returned_lamports,
            market.refundable_lamports,
            market.current_liquidity_lamports,
        )
    total = market.shares_yes if market.final_outcome else market.shares_no
    return winnings(_winning_shares(position, market), total, market.current_liquidity_lamports)


def _is_worthless(position: PositionFigures, market: MarketFigures) -> bool:
    """Whether the market ended with nothing for this holder."""
    if market.state is not MarketState.FINALIZED:
        return False
    if market.final_outcome is None:
        return position.invested_lamports <= position.returned_lamports
    return _winning_shares(position, market) <= 0


def _winning_shares(position: PositionFigures, market: MarketFigures) -> int:
    return position.shares_yes if market.final_outcome else position.shares_no


def _sale(position: PositionFigures, market: MarketFigures) -> SaleProceeds | None:
    if market.b_parameter is None:
        return None
    curve = (market.shares_yes, market.shares_no, market.b_parameter)
    proceeds = _proceeds(*curve, max(position.shares_yes, 0), max(position.shares_no, 0))
    if proceeds is None:
        return None
    charged = sum(fees.trade_fees(one, market.rates).total for one in proceeds)
    return SaleProceeds(sum(proceeds), sum(proceeds) - charged)


@lru_cache(_KEPT_PROCEEDS)
def _proceeds(q_yes: int, q_no: int, b: int, yes: int, no: int) -> tuple[int, int] | None:
    """What sales of these shares pay before fees; None where the program would refuse one."""
    try:
        return (
            lmsr.quote_sell(q_yes, q_no, b, True, yes) if yes else 0,
            lmsr.quote_sell(q_yes - yes, q_no, b, False, no) if no else 0,
        )
    except MarketMathError:
        return None
