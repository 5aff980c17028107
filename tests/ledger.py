"""Plain bookkeeping that other bookkeeping is compared with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ledger:
    """One wallet's shares of one outcome, trade by trade, by the average cost method."""

    shares: int = 0
    cost: int = 0
    realized: int = 0
    invested: int = 0
    returned: int = 0

    def buy(self, shares: int, lamports: int) -> None:
        self.shares += shares
        self.cost += lamports
        self.invested += lamports

    def sell(self, shares: int, lamports: int) -> int:
        """What the sale realized."""
        cost_of_sold = self.cost * shares // self.shares
        self.shares -= shares
        self.cost -= cost_of_sold
        self.returned += lamports
        self.realized += lamports - cost_of_sold
        return lamports - cost_of_sold
