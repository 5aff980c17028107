"""A market's books kept in Python: what every trade and payout must come to, to the lamport."""

from __future__ import annotations

from dataclasses import dataclass, field

from zmartd.market import fees, lmsr, valuation
from zmartd.market.errors import MarketMathError

SMALLEST_TRADE_LAMPORTS = 10_000


@dataclass
class Holding:
    yes: int = 0
    no: int = 0
    invested: int = 0
    returned: int = 0

    def of(self, outcome: bool) -> int:
        return self.yes if outcome else self.no

    def add(self, outcome: bool, shares: int) -> None:
        if outcome:
            self.yes += shares
        else:
            self.no += shares

    @property
    def refundable(self) -> int:
        return max(self.invested - self.returned, 0)


@dataclass
class Books:
    """`rates` are the protocol's, the resolver's and the liquidity provider's basis points."""

    b: int
    initial: int
    rates: tuple[int, int, int]
    yes: int = 0
    no: int = 0
    pool: int = 0
    volume: int = 0
    protocol_fees: int = 0
    resolver_fees: int = 0
    lp_fees: int = 0
    holdings: dict[str, Holding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.yes = self.no = self.b // 1_000
        self.pool = self.initial

    def buy(self, holder: str, outcome: bool, target_cost: int) -> tuple[int, int]:
        """(cost with fees, shares). Raises MarketMathError, having written nothing."""
        budget = fees.budget_before_fees(target_cost)
        amount, shares = lmsr.quote_buy(self.yes, self.no, self.b, outcome, budget)
        protocol, resolver, lp, total = fees.split(amount, *self.rates)
        if amount + total > target_cost:
            raise MarketMathError("SlippageExceeded")
        self._write(outcome, shares, amount, (protocol, resolver, lp))
        self.volume += amount + total
        holding = self.holdings.setdefault(holder, Holding())
        holding.add(outcome, shares)
        holding.invested += amount + total
        return amount + total, shares

    def sell(self, holder: str, outcome: bool, shares: int) -> int:
        """Proceeds after fees. Raises MarketMathError, having written nothing."""
        amount = lmsr.quote_sell(self.yes, self.no, self.b, outcome, shares)
        if amount < SMALLEST_TRADE_LAMPORTS:
            raise MarketMathError("TradeTooSmall")
        if amount > self.pool:
            raise MarketMathError("InsufficientLiquidity")
        protocol, resolver, lp, total = fees.split(amount, *self.rates)
        self._write(outcome, -shares, -amount, (protocol, resolver, lp))
        self.volume += amount
        holding = self.holdings[holder]
        holding.add(outcome, -shares)
        holding.returned += amount - total
        return amount - total

    @property
    def refundable(self) -> int:
        return sum(holding.refundable for holding in self.holdings.values())

    @property
    def held(self) -> int:
        """What the market's account holds beyond its rent, until somebody is paid."""
        return self.pool + self.resolver_fees + self.lp_fees

    def owed(self, holder: str, outcome: bool | None) -> int | None:
        """What a holder gets in the end; None for one who has nothing to claim."""
        holding = self.holdings.get(holder, Holding())
        if outcome is None:
            if holding.refundable == 0:
                return None
            return valuation.refund(holding.invested, holding.returned, self.refundable, self.pool)
        if holding.of(outcome) == 0:
            return None
        return valuation.winnings(holding.of(outcome), self.yes if outcome else self.no, self.pool)

    def _write(self, outcome: bool, shares: int, amount: int, parts: tuple[int, int, int]) -> None:
        if outcome:
            self.yes += shares
        else:
            self.no += shares
        self.pool += amount
        self.protocol_fees += parts[0]
        self.resolver_fees += parts[1]
        self.lp_fees += parts[2]
