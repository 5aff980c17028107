"""Errors of the market arithmetic, named as the program names them."""

from __future__ import annotations

from zmartd.errors import ZmartdError


class MarketMathError(ZmartdError):
    """The program refuses this calculation."""

    def __init__(self, code: str, message: str | None = None) -> None:
        """`code` is the program's error name, for example `OverflowError` or `InvalidBParameter`."""
        super().__init__(message or f"The program refuses this calculation: {code}.")
        self.code = code  # type: ignore[misc]  # the program's name for it, not one code per class
