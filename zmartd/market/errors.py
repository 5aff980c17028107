"""The error of the market arithmetic."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from zmartd.errors import DetailedError
from zmartd.market.json_fields import Amount

Limit = Literal["min_shares", "max_cost", "min_proceeds"]


class TradeTerms(Struct, frozen=True, kw_only=True):
    """What of a trade's terms the market does not meet; each is there where the error is about it."""

    limit: Limit | UnsetType = UNSET
    """The trader's limit that the present price is beyond: the field beside this one that is named so."""
    min_shares: Amount | UnsetType = UNSET
    """The least share units of a purchase."""
    max_cost: Amount | UnsetType = UNSET
    """The most lamports of a purchase, fees included."""
    min_proceeds: Amount | UnsetType = UNSET
    """The least lamports of a sale, after fees."""
    offered: Amount | UnsetType = UNSET
    """What the market gives, or asks for, instead."""
    shares: Amount | UnsetType = UNSET
    """The share units that the wallet wants to sell, or those that its purchases would bring."""
    shares_held: Amount | UnsetType = UNSET
    """The share units of that outcome that it holds."""
    largest_trade_here: Amount | UnsetType = UNSET
    """The most that this trade can be now: lamports of a purchase by cost, otherwise share units."""


NO_TERMS = TradeTerms()


class MarketMathError(DetailedError[TradeTerms]):
    """The program refuses this calculation."""

    def __init__(self, code: str, explanation: str | None = None, terms: TradeTerms = NO_TERMS) -> None:
        """`code` is the program's error name, for example `OverflowError` or `InvalidBParameter`.

        `explanation` says more than the name does, to who asked for the calculation.
        """
        super().__init__(terms, explanation or f"The program refuses this calculation: {code}.")
        self.code = code  # type: ignore[misc]  # here the code is the program's error name, not the class's
        self.explanation = explanation
