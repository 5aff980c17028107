"""How a trade's fees are computed and shared out. Lamports and basis points, every division truncates."""

from __future__ import annotations

from zmartd.market.errors import MarketMathError
from zmartd.market.lmsr import U64_MAX

BPS = 10_000
"""Basis points in one."""

_BUDGET_NUMERATOR, _BUDGET_DENOMINATOR = 10_000, 11_000


def split(amount: int, protocol_bps: int, resolver_bps: int, lp_bps: int) -> tuple[int, int, int, int]:
    """`(protocol, resolver, lp, total)` lamports of fees on `amount` lamports.

    The liquidity provider gets what rounding leaves of the total.

    Raises MarketMathError: OverflowError when the total does not fit 64 bits.
    """
    total_bps = protocol_bps + resolver_bps + lp_bps
    if total_bps == 0:
        return 0, 0, 0, 0
    total = amount * total_bps // BPS
    if total > U64_MAX:
        raise MarketMathError("OverflowError")
    protocol = total * protocol_bps // total_bps
    resolver = total * resolver_bps // total_bps
    return protocol, resolver, total - protocol - resolver, total


def budget_before_fees(target_cost: int) -> int:
    """What the program looks for shares with when a buyer offers `target_cost` lamports in all.

    The program always sets a tenth aside for fees, whatever the configured basis points are.
    """
    return target_cost * _BUDGET_NUMERATOR // _BUDGET_DENOMINATOR
