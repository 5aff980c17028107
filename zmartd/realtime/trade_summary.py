"""What a trade comes to in JSON: the same in the REST API and in WebSocket frames."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from zmartd.market.fees import TradeFees
from zmartd.market.json_fields import Amount, Price
from zmartd.market.lmsr import SCALE
from zmartd.realtime.messages import TradeExecuted


class FeeSummary(Struct, frozen=True, kw_only=True):
    """A trade's fee in lamports, by whom its parts go to, as decimal digits."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for the wallet that proposes the market's outcome."""
    lp: Amount
    """Lamports for the market's creator, as liquidity provider."""
    total: Amount
    """protocol + resolver + lp, in lamports."""


class TradeSummary(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits, prices of the traded outcome from 0 to 1."""

    outcome: bool
    """The traded outcome: true for YES, false for NO."""
    outcome_label: Literal["YES", "NO"]
    """The name of the outcome."""
    shares: Amount
    """Shares bought or sold, with nine decimals."""
    gross: Amount
    """Lamports before fees: what the price curve asks for the shares, or pays for them."""
    fee: FeeSummary
    """The fee and its parts."""
    net: Amount
    """Lamports that move: gross plus fee, paid by the buyer; or gross less fee, received by the seller."""
    average_price: float
    """net / shares, in SOL per share; 0 without shares"""
    price_before: Price
    """The price of a share in SOL before the trade, from 0 to 1."""
    price_after: Price
    """The price of a share in SOL after the trade, from 0 to 1."""


def average_price(lamports: int, shares: int) -> float:
    """Lamports for each share, from 0 to 1 with nine decimals; 0 without shares."""
    return round(lamports / shares, 9) if shares else 0.0


def trade_summary(
    *,
    outcome: bool,
    shares: int,
    gross_lamports: int,
    fees: TradeFees,
    net_lamports: int,
    price_yes_before: int,
    price_yes_after: int,
) -> TradeSummary:
    """`net_lamports` is what a buyer pays with fees, or a seller gets after them; prices are fixed-point."""

    def price(price_yes: int) -> float:
        return (price_yes if outcome else SCALE - price_yes) / SCALE

    return TradeSummary(
        outcome=outcome,
        outcome_label="YES" if outcome else "NO",
        shares=str(shares),
        gross=str(gross_lamports),
        fee=FeeSummary(
            protocol=str(fees.protocol), resolver=str(fees.resolver), lp=str(fees.lp), total=str(fees.total)
        ),
        net=str(net_lamports),
        average_price=average_price(net_lamports, shares),
        price_before=price(price_yes_before),
        price_after=price(price_yes_after),
    )


def summary_of(trade: TradeExecuted) -> TradeSummary:
    """What a trade comes to that a message tells of."""
    return trade_summary(
        outcome=trade.outcome,
        shares=trade.shares,
        gross_lamports=trade.amount_lamports,
        fees=trade.fees,
        net_lamports=trade.cost_lamports,
        price_yes_before=trade.price_yes_before,
        price_yes_after=trade.price_yes,
    )
