"""The error of the market arithmetic."""

from __future__ import annotations

from typing import Any

from zmartd.errors import ZmartdError


class MarketMathError(ZmartdError):
    """The program refuses this calculation."""

    def __init__(self, code: str, explanation: str | None = None, **details: Any) -> None:
        """`code` is the program's error name, for example `OverflowError` or `InvalidBParameter`.

        `explanation` says more than the name does, to who asked for the calculation.
        """
        super().__init__(explanation or f"The program refuses this calculation: {code}.", **details)
        self.code = code  # type: ignore[misc]  # here the code is the program's error name, not the class's
        self.explanation = explanation
