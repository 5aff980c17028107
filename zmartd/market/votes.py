"""Vote arithmetic in basis points, as the program computes it."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from zmartd.market.fees import BPS


class VoteCounts(Struct, frozen=True):
    """The votes for and against, in wallets or in lamports of stake."""

    yes: int
    no: int

    @property
    def total(self) -> int:
        return self.yes + self.no


class CountingRule(Struct, frozen=True, kw_only=True):
    """What counted votes were held to when they were acted on."""

    threshold_bps: int
    """The least share of the votes in favour."""
    min_votes: int | None = None
    """The least number of votes on a proposal; None for a dispute."""
    quorum_bps: int | None = None
    """The least share of the holders' stake that had to vote on a dispute; None for a proposal."""
    decided_by: Literal["votes", "admin"] = "votes"
    """`admin`: an admin decided, whatever the votes say."""


class VotesSoFar(Struct, frozen=True, kw_only=True):
    """The votes on a market while they are open, by wallet."""

    counts: VoteCounts
    """Those that count, or count with enough balance."""
    by_balance: VoteCounts = VoteCounts(0, 0)
    """Those of them, on a proposal, of wallets that have never traded: they count where the wallet holds the
    least balance when they are counted."""
    are_closed: bool = False
    """Whether they are being counted, so that no more are taken."""
    are_known: bool = True
    """False where a transaction could not be read: then they settle nothing."""
    has_voters: bool = True
    """False on a dispute where no wallet held shares: then nobody may vote."""


NO_VOTES: Final = VotesSoFar(counts=VoteCounts(0, 0))


def share_bps(yes: int, total: int) -> int:
    """`yes` in basis points of `total`, truncated; 0 when nobody voted."""
    return yes * BPS // total if total else 0


def percentage(yes: int, total: int) -> int:
    """`yes` in percent of `total`, truncated; 0 when nobody voted."""
    return yes * 100 // total if total else 0


def passes(yes: int, no: int, threshold_bps: int, minimum_votes: int = 1) -> bool:
    """Whether at least `minimum_votes` were cast, and at least `threshold_bps` of them are yes."""
    total = yes + no
    return total >= max(minimum_votes, 1) and share_bps(yes, total) >= threshold_bps


def petition_passes(requests: int, electorate: int, threshold_bps: int) -> bool:
    """Whether at least `threshold_bps` of an electorate, in wallets or in lamports, request a dispute."""
    return electorate > 0 and requests > 0 and requests * BPS >= electorate * threshold_bps
