"""Vote arithmetic, in basis points, as the program computes it."""

from __future__ import annotations

from msgspec import Struct

BPS = 10_000


class VoteCounts(Struct, frozen=True):
    """The two sides of a vote: in votes, one for each wallet, or in lamports of stake."""

    yes: int
    no: int

    @property
    def total(self) -> int:
        return self.yes + self.no


def share_bps(yes: int, total: int) -> int:
    """The part of `total` votes that are `yes`, truncated; 0 when nobody voted."""
    return yes * BPS // total if total else 0


def passes(yes: int, no: int, threshold_bps: int, minimum_votes: int = 1) -> bool:
    """Whether enough wallets voted and enough of them said yes."""
    total = yes + no
    return total >= max(minimum_votes, 1) and share_bps(yes, total) >= threshold_bps


def petition_carries(asking: int, electorate: int, threshold_bps: int) -> bool:
    """Whether at least `threshold_bps` of an electorate, in wallets or in lamports, ask for a dispute."""
    return electorate > 0 and asking > 0 and asking * BPS >= electorate * threshold_bps
