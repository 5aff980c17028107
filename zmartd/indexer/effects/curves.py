"""A market's outstanding shares as its row has them, and the price that follows from them."""

from __future__ import annotations

from asyncpg import Record
from msgspec import Struct
from msgspec.structs import replace

from zmartd.market.errors import MarketMathError
from zmartd.market.lmsr import SCALE, Curve

CURVE_COLUMNS = (
    "shares_yes, shares_no, b_parameter, corrected_slot,"
    " reprice_from, reprice_before, reprice_shares_yes, reprice_shares_no"
)
"""The columns of `markets` that `stored_curve` reads."""


class Repricing(Struct, frozen=True):
    """Which trades of a market are still to be priced anew, and how far the curve before them is known.

    `before_slot` is None, and the shares 0, until somebody has begun to go back from the present shares.
    """

    from_slot: int
    before_slot: int | None = None
    shares_yes: int = 0
    """Those of trades before `before_slot`, and of the market's creation or correction."""
    shares_no: int = 0


class StoredCurve(Struct, frozen=True):
    """A market's shares before a batch. `b_parameter` is None until the market's creation is known."""

    shares_yes: int
    shares_no: int
    b_parameter: int | None
    corrected_slot: int | None = None
    """The slot whose accounts it was corrected from: the shares contain all that happened until then."""
    repricing: Repricing | None = None

    @property
    def curve(self) -> Curve | None:
        return None if self.b_parameter is None else Curve(self.shares_yes, self.shares_no, self.b_parameter)

    def after(self, yes: int, no: int) -> StoredCurve:
        """The same with so many more shares of each outcome."""
        return replace(self, shares_yes=self.shares_yes + yes, shares_no=self.shares_no + no)

    @property
    def first_slot(self) -> int:
        """The first slot whose trades the shares can be told without."""
        return 0 if self.corrected_slot is None else self.corrected_slot + 1


def stored_curve(row: Record) -> StoredCurve:
    """The curve of a row with CURVE_COLUMNS."""
    due = row["reprice_from"]
    return StoredCurve(
        row["shares_yes"],
        row["shares_no"],
        row["b_parameter"],
        row["corrected_slot"],
        None
        if due is None
        else Repricing(
            due, row["reprice_before"], row["reprice_shares_yes"] or 0, row["reprice_shares_no"] or 0
        ),
    )


def price_yes(curve: Curve | None) -> int:
    """The price of YES; one half where there is none, because events are missing."""
    if curve is None or min(curve.q_yes, curve.q_no) < 0:
        return SCALE // 2
    try:
        return curve.price_yes()
    except MarketMathError:
        return SCALE // 2
