"""What states a market goes through, what moves it, and when each deadline falls.

Times are unix seconds of the chain's clock, 0 meaning "not yet" as in the market account.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class MarketState(IntEnum):
    """The state byte of a market account; its name in the API is the member's name."""

    PROPOSED = 0
    APPROVED = 1
    ACTIVE = 2
    RESOLVING = 3
    DISPUTED = 4
    FINALIZED = 5
    CANCELLED = 6


class VoteKind(StrEnum):
    """The two questions that wallets vote on; `seed` is the byte in a vote record's address."""

    PROPOSAL = "proposal"
    DISPUTE = "dispute"

    @property
    def seed(self) -> int:
        return 0 if self is VoteKind.PROPOSAL else 1

    @property
    def open_state(self) -> MarketState:
        """The only state in which votes of this kind are taken."""
        return MarketState.PROPOSED if self is VoteKind.PROPOSAL else MarketState.DISPUTED

    @property
    def has_an_end(self) -> bool:
        """Whether voting is over at a time. A proposal is voted on until it is approved or cancelled."""
        return self is VoteKind.DISPUTE


def finalizable_at(
    resolution_proposed_at: int,
    dispute_period_seconds: int,
    finalization_delay_seconds: int,
    safety_margin_seconds: int,
) -> int:
    """When an undisputed resolution may be finalized: after the longer of the two periods, and a margin.

    The margin keeps a clock that is slightly ahead of the chain's from sending a transaction that must fail.
    """
    return (
        resolution_proposed_at
        + max(dispute_period_seconds, finalization_delay_seconds)
        + safety_margin_seconds
    )


def dispute_closes_at(resolution_proposed_at: int, dispute_period_seconds: int) -> int:
    """From this second on the program refuses to open a dispute."""
    return resolution_proposed_at + dispute_period_seconds


def dispute_vote_ends_at(dispute_initiated_at: int, dispute_period_seconds: int) -> int:
    """When a dispute's votes are counted. The program sets no such time: it is the daemon's rule alone."""
    return dispute_initiated_at + dispute_period_seconds


def flipped(outcome: bool | None) -> bool | None:
    """The outcome after a successful dispute; an invalid market stays invalid."""
    return None if outcome is None else not outcome
