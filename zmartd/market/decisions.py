"""What becomes of a disputed market: what two tallies decide together, and what they leave to an admin."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from zmartd.market.votes import BPS, VoteCounts, passes

LAST_CALL = (3, 4)
"""The part of the dispute window that a stranger's resolution waits for somebody to dispute it.

After the whole window the program knows no other outcome than the proposed one, so the backend disputes it
before."""


class Decision(StrEnum):
    """What becomes of a market whose outcome was proposed."""

    KEEP = "keep"
    """The proposed outcome is final."""
    OVERTURN = "overturn"
    """The opposite of the proposed outcome is final."""
    REFUND = "refund"
    """No outcome is final: every holder gets back what it paid in. Votes never decide this."""


class Undecided(StrEnum):
    """Why a dispute's votes decide nothing."""

    NO_VOTES = "no_votes"
    QUORUM_MISSED = "quorum_missed"
    TALLIES_DIFFER = "tallies_differ"


def dispute_verdict(
    wallets: VoteCounts, stake: VoteCounts, electorate_stake: int, threshold_bps: int, quorum_bps: int
) -> Decision | Undecided:
    """What the votes by wallet and by stake decide together.

    Wallets cost nothing and stake can be one wallet's, so neither decides alone: both tallies have to say the
    same, and the stake that voted has to be at least `quorum_bps` of the electorate's.
    """
    if wallets.total == 0:
        return Undecided.NO_VOTES
    if stake.total == 0 or stake.total * BPS < electorate_stake * quorum_bps:
        return Undecided.QUORUM_MISSED
    by_wallet, by_stake = (passes(side.yes, side.no, threshold_bps) for side in (wallets, stake))
    if by_wallet is not by_stake:
        return Undecided.TALLIES_DIFFER
    return Decision.OVERTURN if by_wallet else Decision.KEEP


def is_trusted_resolver(resolver: str | None, creator: str | None, trusted: Collection[str]) -> bool:
    """Whether time alone may finalize what `resolver` proposed. The program lets any wallet propose."""
    return resolver is not None and (resolver == creator or resolver in trusted)


def last_call_at(resolution_proposed_at: int, dispute_period_seconds: int) -> int:
    """When the backend disputes a stranger's resolution that nobody has disputed. Unix seconds."""
    part, whole = LAST_CALL
    return resolution_proposed_at + dispute_period_seconds * part // whole
