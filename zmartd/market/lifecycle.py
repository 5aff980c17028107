"""The states of a market, what is voted on in them, and their deadlines.

Times are unix seconds of the chain's clock.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

AUTOMATIC_DISPUTE_AT = (3, 4)
"""The part of the dispute window after which the backend disputes a stranger's resolution itself.

Once the window has passed the program accepts only the proposed outcome as final, so the backend has to open
the dispute before. Until then it leaves the dispute to the holders."""


class MarketState(IntEnum):
    """The state byte of a market account; the API uses the members' names."""

    PROPOSED = 0
    APPROVED = 1
    ACTIVE = 2
    RESOLVING = 3
    DISPUTED = 4
    FINALIZED = 5
    CANCELLED = 6


class VoteKind(StrEnum):
    """The two questions that wallets vote on."""

    PROPOSAL = "proposal"
    DISPUTE = "dispute"

    @property
    def seed(self) -> int:
        """The byte in the seeds of a vote record's address."""
        return 0 if self is VoteKind.PROPOSAL else 1

    @property
    def open_state(self) -> MarketState:
        """The only state in which the program accepts votes of this kind."""
        return MarketState.PROPOSED if self is VoteKind.PROPOSAL else MarketState.DISPUTED

    @property
    def has_an_end(self) -> bool:
        """Whether voting has a deadline. A proposal is voted on until it is approved or cancelled."""
        return self is VoteKind.DISPUTE


def finalizable_at(
    resolution_proposed_at: int,
    dispute_period_seconds: int,
    finalization_delay_seconds: int,
    safety_margin_seconds: int,
) -> int:
    """When an undisputed resolution may be finalized: after the longer of the two periods and a margin.

    With the margin, a clock slightly ahead of the chain's does not send a transaction that must fail.
    """
    return (
        resolution_proposed_at
        + max(dispute_period_seconds, finalization_delay_seconds)
        + safety_margin_seconds
    )


def dispute_closes_at(resolution_proposed_at: int, dispute_period_seconds: int) -> int:
    """The end of the dispute window: from this second on the program opens no dispute."""
    return resolution_proposed_at + dispute_period_seconds


def automatic_dispute_at(resolution_proposed_at: int, dispute_period_seconds: int) -> int:
    """When the backend disputes a stranger's resolution that nobody has disputed."""
    part, whole = AUTOMATIC_DISPUTE_AT
    return resolution_proposed_at + dispute_period_seconds * part // whole


def dispute_vote_ends_at(dispute_initiated_at: int, dispute_period_seconds: int) -> int:
    """When the backend counts a dispute's votes. The program has no such deadline."""
    return dispute_initiated_at + dispute_period_seconds


def flipped(outcome: bool | None) -> bool | None:
    """The opposite outcome, which a successful dispute makes final; None, no outcome, stays None."""
    return None if outcome is None else not outcome
