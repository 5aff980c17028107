"""Vote arithmetic, in basis points, as the program computes it."""

from __future__ import annotations

BPS = 10_000


def share_bps(yes: int, total: int) -> int:
    """The part of `total` votes that are `yes`, truncated; 0 when nobody voted."""
    return yes * BPS // total if total else 0


def passes(yes: int, no: int, threshold_bps: int, minimum_votes: int = 1) -> bool:
    """Whether enough wallets voted and enough of them said yes."""
    total = yes + no
    return total >= max(minimum_votes, 1) and share_bps(yes, total) >= threshold_bps


def petition_carries(petitioners: int, holders: int, threshold_bps: int) -> bool:
    """Whether at least `threshold_bps` of the wallets that hold a position ask for a dispute."""
    return holders > 0 and petitioners > 0 and petitioners * BPS >= holders * threshold_bps
