"""What the open votes of a market have to come to, and how many are missing. Shares are basis points."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.fees import BPS
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.situation import Rules, Situation
from zmartd.market.votes import VoteCounts, VotesSoFar


class VotesNeeded(Struct, frozen=True, kw_only=True):
    """The votes so far, by wallet, and what they have to come to."""

    in_favour: int
    against: int
    in_favour_by_balance: int = 0
    against_by_balance: int = 0
    """Of the above those that count only if their wallet holds the least balance when they are counted."""
    needed: int
    """The least number of votes, for and against together."""
    threshold_bps: int
    """The least share of the votes that has to be in favour."""
    quorum_bps: int | None = None
    """The least share of the holders' stake that has to vote as well; None where stake does not count."""
    missing: int | None
    """How many votes more, all in favour, would be enough if those so far count. None: no number would."""
    missing_at_most: int | None
    """The same whatever those that depend on balances come to."""


def open_votes(state: MarketState) -> VoteKind | None:
    """The kind of vote that is open in a state."""
    return next((kind for kind in VoteKind if kind.open_state is state), None)


def votes_needed(market: Situation, rules: Rules) -> VotesNeeded | None:
    """What the votes that are open in the market's state have to come to; None where none are."""
    if not market.is_on_chain:
        return None
    match open_votes(market.state):
        case VoteKind.PROPOSAL:
            return needed_for_approval(market.votes, rules)
        case VoteKind.DISPUTE:
            return needed_for_dispute(market.votes, rules)
    return None


def votes_missing(votes: VoteCounts, threshold_bps: int, needed: int) -> int | None:
    """How many votes more, all in favour, `passes` would need; None where no number is enough."""
    lacking = votes.total * threshold_bps - votes.yes * BPS
    if lacking > 0 and threshold_bps >= BPS:
        return None
    for_threshold = -(-lacking // (BPS - threshold_bps)) if lacking > 0 else 0
    return max(for_threshold, max(needed, 1) - votes.total, 0)


def needed_for_approval(votes: VotesSoFar, rules: Rules) -> VotesNeeded:
    """What the votes on a proposal have to come to."""
    counts, threshold_bps = votes.counts, rules.program.proposal_threshold_bps
    needed = rules.backend.min_proposal_votes
    by_balance = votes.by_balance if rules.backend.proposal_min_balance_lamports else VoteCounts(0, 0)
    # The most are missing where no such vote in favour counts, and either all against or none.
    in_favour, against = counts.yes - by_balance.yes, counts.no
    at_most = [
        votes_missing(VoteCounts(in_favour, no), threshold_bps, needed)
        for no in (against, against - by_balance.no)
    ]
    return VotesNeeded(
        in_favour=counts.yes,
        against=counts.no,
        in_favour_by_balance=by_balance.yes,
        against_by_balance=by_balance.no,
        needed=needed,
        threshold_bps=threshold_bps,
        missing=votes_missing(counts, threshold_bps, needed),
        missing_at_most=None if None in at_most else max(one for one in at_most if one is not None),
    )


def needed_for_dispute(votes: VotesSoFar, rules: Rules) -> VotesNeeded:
    """What the votes on a dispute have to come to."""
    counts, threshold_bps = votes.counts, rules.program.dispute_threshold_bps
    can_be_enough = votes.are_known and votes.has_voters
    missing = votes_missing(counts, threshold_bps, 1) if can_be_enough else None
    return VotesNeeded(
        in_favour=counts.yes,
        against=counts.no,
        needed=1,
        threshold_bps=threshold_bps,
        quorum_bps=rules.backend.dispute_quorum_bps,
        missing=missing,
        missing_at_most=missing,
    )
