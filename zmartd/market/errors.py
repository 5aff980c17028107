"""The error of the market arithmetic."""

from __future__ import annotations

from zmartd.errors import ZmartdError


class MarketMathError(ZmartdError):
    """The program refuses this calculation."""

    def __init__(self, code: str, message: str | None = None) -> None:
        """`code` is the program's error name, for example `OverflowError` or `InvalidBParameter`."""
        super().__init__(message or f"The program refuses this calculation: {code}.")
        self.code = code  # type: ignore[misc]  # here the code is the program's error name, not the class's
