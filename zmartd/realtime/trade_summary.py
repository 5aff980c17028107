"""What a trade comes to in JSON: the same in the REST API and in WebSocket frames."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from zmartd.market.fees import TradeFees
from zmartd.market.lmsr import SCALE


class FeeSummary(Struct, frozen=True, kw_only=True):
    """A trade's fee in lamports, by whom its parts go to, as decimal digits."""

    protocol: str
    resolver: str
    lp: str
    total: str


class TradeSummary(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits, prices of the traded outcome from 0 to 1."""

    outcome: bool
    outcome_label: Literal["YES", "NO"]
    shares: str
    gross: str
    fee: FeeSummary
    net: str
    average_price: float
    price_before: float
    price_after: float


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
