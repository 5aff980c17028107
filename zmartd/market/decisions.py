"""How a resolved market gets its final outcome: by the tallies of its dispute, by an admin, or by time."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from zmartd.market.fees import BPS
from zmartd.market.lifecycle import MarketState, dispute_closes_at
from zmartd.market.votes import VoteCounts, passes


class Decision(StrEnum):
    """A decision about a market whose outcome was proposed."""

    KEEP = "keep"
    """The proposed outcome becomes final."""
    OVERTURN = "overturn"
    """The opposite of the proposed outcome becomes final."""
    REFUND = "refund"
    """The market ends without an outcome, and every holder gets back what it paid in. Only an admin decides
    this, votes never do."""


class Undecided(StrEnum):
    """Why the votes of a dispute decide nothing."""

    NO_VOTES = "no_votes"
    QUORUM_MISSED = "quorum_missed"
    TALLIES_DIFFER = "tallies_differ"
    ELECTORATE_NOT_KNOWN = "electorate_not_known"


def dispute_verdict(
    wallets: VoteCounts, stake: VoteCounts, electorate_stake: int, threshold_bps: int, quorum_bps: int
) -> Decision | Undecided:
    """The decision of a dispute's votes, counted by wallet and by stake.

    New wallets cost nothing, and one wallet can hold most of the stake, so neither tally decides alone. Both
    have to give the same result, and the stake that voted has to be at least `quorum_bps` of the
    electorate's.
    """
    if wallets.total == 0:
        return Undecided.NO_VOTES
    if stake.total == 0 or stake.total * BPS < electorate_stake * quorum_bps:
        return Undecided.QUORUM_MISSED
    by_wallet, by_stake = (passes(side.yes, side.no, threshold_bps) for side in (wallets, stake))
    if by_wallet is not by_stake:
        return Undecided.TALLIES_DIFFER
    return Decision.OVERTURN if by_wallet else Decision.KEEP


def possible_decisions(
    state: MarketState, resolution_proposed_at: int, dispute_period_seconds: int, now: int
) -> tuple[Decision, ...]:
    """What can be decided about a RESOLVING or DISPUTED market at the chain's time `now`.

    Once the dispute window of a RESOLVING market has passed, the program can only make the proposed outcome
    final.
    """
    closes_at = dispute_closes_at(resolution_proposed_at, dispute_period_seconds)
    if state is MarketState.RESOLVING and now >= closes_at:
        return (Decision.KEEP,)
    return tuple(Decision)


def is_trusted_resolver(resolver: str | None, creator: str | None, trusted: Collection[str]) -> bool:
    """Whether an outcome that `resolver` proposed becomes final when nobody disputes it.

    The program lets any wallet propose an outcome.
    """
    return resolver is not None and (resolver == creator or resolver in trusted)
