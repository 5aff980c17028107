"""How a trade's fees are computed and divided. Lamports and basis points; every division truncates."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from zmartd.market.errors import MarketMathError
from zmartd.market.lmsr import U64_MAX

BPS = 10_000
"""Basis points in one."""

_BUDGET_NUMERATOR, _BUDGET_DENOMINATOR = 10_000, 11_000


class FeeRates(Struct, frozen=True):
    """The fee rates in force when a trade was made, in basis points."""

    protocol_bps: int
    resolver_bps: int
    lp_bps: int

    @property
    def total_bps(self) -> int:
        return self.protocol_bps + self.resolver_bps + self.lp_bps


INITIAL_RATES = FeeRates(protocol_bps=300, resolver_bps=200, lp_bps=500)
"""What initialize_global_config sets, whatever its arguments are."""


def configured_rates(protocol_bps: int | None, resolver_bps: int | None, lp_bps: int | None) -> FeeRates:
    """The rates of a configuration. Events report only changes, so None is the initial rate."""
    initial = INITIAL_RATES
    return FeeRates(
        initial.protocol_bps if protocol_bps is None else protocol_bps,
        initial.resolver_bps if resolver_bps is None else resolver_bps,
        initial.lp_bps if lp_bps is None else lp_bps,
    )


class TradeFees(NamedTuple):
    """A trade's fees in lamports."""

    protocol: int
    resolver: int
    lp: int
    total: int


def split(amount: int, protocol_bps: int, resolver_bps: int, lp_bps: int) -> TradeFees:
    """The fees on `amount` lamports, by whom they go to.

    The liquidity provider gets the remainder that rounding leaves of the total.

    Raises MarketMathError: OverflowError when the total does not fit 64 bits.
    """
    total_bps = protocol_bps + resolver_bps + lp_bps
    if total_bps == 0:
        return TradeFees(0, 0, 0, 0)
    total = amount * total_bps // BPS
    if total > U64_MAX:
        raise MarketMathError("OverflowError")
    protocol = total * protocol_bps // total_bps
    resolver = total * resolver_bps // total_bps
    return TradeFees(protocol, resolver, total - protocol - resolver, total)


def trade_fees(amount: int, rates: FeeRates) -> TradeFees:
    """`split` at `rates`."""
    return split(amount, rates.protocol_bps, rates.resolver_bps, rates.lp_bps)


def budget_before_fees(target_cost: int) -> int:
    """The lamports for which the program searches shares when a buyer offers `target_cost` in all.

    The program always sets a tenth aside for fees, whatever the configured rates are.
    """
    return target_cost * _BUDGET_NUMERATOR // _BUDGET_DENOMINATOR


def smallest_target_cost(budget: int) -> int:
    """The inverse of `budget_before_fees`: the smallest target cost with at least this budget."""
    return -(-budget * _BUDGET_DENOMINATOR // _BUDGET_NUMERATOR)


def largest_target_cost(budget: int) -> int:
    """The largest target cost that has no larger budget than this."""
    return ((budget + 1) * _BUDGET_DENOMINATOR - 1) // _BUDGET_NUMERATOR
