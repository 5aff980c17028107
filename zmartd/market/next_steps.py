"""What can happen next with a market: who can do it, from when until when, and what it lacks.

Pure functions of a market's situation. Times are unix seconds of the chain's clock, shares basis points.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from zmartd.market import lifecycle
from zmartd.market.decisions import Decision, is_trusted_resolver
from zmartd.market.fees import BPS
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import NO_VOTES, VoteCounts, VotesSoFar

INITIAL_PROPOSAL_THRESHOLD_BPS = 7_000
INITIAL_DISPUTE_THRESHOLD_BPS = 6_000
INITIAL_DISPUTE_PERIOD_SECONDS = 259_200
"""What initialize_global_config sets."""

_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, the last that ISO 8601 writes in four digits: an admin may set longer periods."""


class Action(StrEnum):
    """What is done to a market."""

    CREATE = "create"
    VOTE_ON_PROPOSAL = "vote_on_proposal"
    APPROVE = "approve"
    CANCEL = "cancel"
    ACTIVATE = "activate"
    TRADE = "trade"
    RESOLVE = "resolve"
    REQUEST_DISPUTE = "request_dispute"
    DISPUTE = "dispute"
    VOTE_ON_DISPUTE = "vote_on_dispute"
    DECIDE = "decide"
    FINALIZE = "finalize"
    CLAIM = "claim"
    WITHDRAW = "withdraw"


class Actor(StrEnum):
    """Who does it."""

    ANYBODY = "anybody"
    CREATOR = "creator"
    TRUSTED_RESOLVER = "trusted_resolver"
    VOTER = "voter"
    """A wallet that has traded before, or holds the least balance of voters on proposals."""
    HOLDER = "holder"
    """A wallet that held shares when the outcome was proposed."""
    WINNER = "winner"
    """A wallet with shares of the final outcome."""
    ADMIN = "admin"
    BACKEND = "backend"
    """The daemon itself, in a run of a task."""


EXPECTED: Final[dict[Action, tuple[MarketState, ...]]] = {
    Action.VOTE_ON_PROPOSAL: (MarketState.PROPOSED,),
    Action.APPROVE: (MarketState.PROPOSED,),
    Action.CANCEL: (MarketState.PROPOSED, MarketState.APPROVED),
    Action.ACTIVATE: (MarketState.APPROVED,),
    Action.TRADE: (MarketState.ACTIVE,),
    Action.RESOLVE: (MarketState.ACTIVE,),
    Action.REQUEST_DISPUTE: (MarketState.RESOLVING,),
    Action.DISPUTE: (MarketState.RESOLVING,),
    Action.VOTE_ON_DISPUTE: (MarketState.DISPUTED,),
    Action.DECIDE: (MarketState.RESOLVING, MarketState.DISPUTED),
    Action.FINALIZE: (MarketState.RESOLVING, MarketState.DISPUTED),
    Action.CLAIM: (MarketState.FINALIZED,),
    Action.WITHDRAW: (MarketState.FINALIZED, MarketState.CANCELLED),
}
"""The states in which each action is possible."""

_NAMES: Final[dict[Action, str]] = {
    Action.VOTE_ON_PROPOSAL: "votes on the proposal",
    Action.APPROVE: "approvals",
    Action.CANCEL: "cancellations",
    Action.ACTIVATE: "activations",
    Action.TRADE: "trades",
    Action.RESOLVE: "resolutions",
    Action.REQUEST_DISPUTE: "requests of a dispute",
    Action.DISPUTE: "disputes",
    Action.VOTE_ON_DISPUTE: "votes on a dispute",
    Action.DECIDE: "decisions",
    Action.FINALIZE: "finalizations",
    Action.CLAIM: "claims",
    Action.WITHDRAW: "withdrawals",
}

_LEADS_TO: Final[dict[MarketState, tuple[MarketState, ...]]] = {
    MarketState.PROPOSED: (MarketState.APPROVED, MarketState.CANCELLED),
    MarketState.APPROVED: (MarketState.ACTIVE, MarketState.CANCELLED),
    MarketState.ACTIVE: (MarketState.RESOLVING,),
    MarketState.RESOLVING: (MarketState.DISPUTED, MarketState.FINALIZED),
    MarketState.DISPUTED: (MarketState.FINALIZED,),
    MarketState.FINALIZED: (),
    MarketState.CANCELLED: (),
}


class ProgramRules(Struct, frozen=True, kw_only=True):
    """What the program's configuration says about the life of markets."""

    proposal_threshold_bps: int = INITIAL_PROPOSAL_THRESHOLD_BPS
    dispute_threshold_bps: int = INITIAL_DISPUTE_THRESHOLD_BPS
    dispute_period_seconds: int = INITIAL_DISPUTE_PERIOD_SECONDS
    is_paused: bool = False
    """Whether the program refuses all trades and new markets."""


class BackendRules(Struct, frozen=True, kw_only=True):
    """What the daemon's settings add to that."""

    min_proposal_votes: int
    proposal_min_balance_lamports: int
    dispute_quorum_bps: int
    finalization_delay_seconds: int
    safety_margin_seconds: int
    veto_seconds: int
    trusted_resolvers: tuple[str, ...]


class Rules(Struct, frozen=True):
    """All rules by which markets live."""

    program: ProgramRules
    backend: BackendRules


class Situation(Struct, frozen=True, kw_only=True):
    """Where a market is in its life. Its times are None where it has not come so far."""

    state: MarketState
    is_on_chain: bool = True
    """False for a pending market."""
    creator: str | None
    resolver: str | None = None
    end: int | None = None
    """The expected end that the creator announced."""
    activated_at: int | None = None
    resolution_proposed_at: int | None = None
    dispute_initiated_at: int | None = None
    awaiting_decision: bool = False
    settles_at: int | None = None
    """When an announced settlement is carried out."""
    decision: Decision | None = None
    """The admin's decision about the market in its present state."""
    votes: VotesSoFar = NO_VOTES
    """The votes of the kind that is open in its state."""
    is_refunded: bool = False
    """Whether it ended without an outcome."""
    has_claims: bool = True
    """Whether, once it is finalized, some holder can still claim."""
    is_withdrawn: bool = False
    """Whether its creator has withdrawn the liquidity."""
    now: int
    """The newest time of the chain that is known. A market's own times are never after it."""

    @property
    def time(self) -> int:
        """The present: `now`, or what has happened to the market since."""
        own = (self.activated_at, self.resolution_proposed_at, self.dispute_initiated_at)
        return max([self.now, *(time for time in own if time is not None)])


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


class PossibleStep(Struct, frozen=True, kw_only=True):
    """One thing that can happen next."""

    action: Action
    by: tuple[Actor, ...]
    leads_to: MarketState | None = None
    """The state that the market comes to; None where it stays in its state."""
    is_open: bool
    """Whether it can be done now."""
    opens_at: int | None = None
    """Not before this time; None where no time decides."""
    closes_at: int | None = None
    """Only before this time; None where no time decides."""
    early_before: int | None = None
    """Before this time it is early, and needs a reason."""
    votes: VotesNeeded | None = None
    missing_seconds: int | None = None
    """How long it is until `opens_at`; None where that has come, or there is none."""


def next_steps(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    """What can happen next, in the order of a market's life."""
    if not market.is_on_chain:
        create = _step(
            market,
            Action.CREATE,
            Actor.CREATOR,
            leads_to=MarketState.PROPOSED,
            closes_at=market.end,
            possible=not rules.program.is_paused,
        )
        return (create,)
    match market.state:
        case MarketState.PROPOSED:
            return _proposed(market, rules)
        case MarketState.APPROVED:
            return (
                _step(market, Action.ACTIVATE, Actor.CREATOR, Actor.ADMIN, leads_to=MarketState.ACTIVE),
                _cancel(market),
            )
        case MarketState.ACTIVE:
            return _active(market, rules)
        case MarketState.RESOLVING:
            return _resolving(market, rules)
        case MarketState.DISPUTED:
            return _disputed(market, rules)
        case MarketState.FINALIZED:
            claims = Actor.HOLDER if market.is_refunded else Actor.WINNER
            return (_step(market, Action.CLAIM, claims, possible=market.has_claims), _withdraw(market))
        case MarketState.CANCELLED:
            return (_withdraw(market),)


def why_not(action: Action, market: Situation, rules: Rules) -> str:
    """Why `action` is not possible in this situation, and when it will be, as sentences for people."""
    expected, name = EXPECTED[action], _NAMES[action]
    states = " or ".join(state.name for state in expected)
    is_now = f"This market is now {market.state.name}"
    steps = next_steps(market, rules)
    if market.state in expected:
        return f"{is_now}; {_by_time(action, market, steps)}."
    if not any(_comes_to(market.state, state) for state in expected):
        return f"{is_now}; {name} are open only while it is {states}, and it cannot be any more."
    earliest = [one.opens_at for one in steps if one.leads_to in expected and one.opens_at is not None]
    not_before = f", not before {_told(min(earliest))}" if earliest else ""
    return f"{is_now}; {name} open once it is {states}{not_before}."


def open_votes(state: MarketState) -> VoteKind | None:
    """The kind of vote that is open in a state."""
    return next((kind for kind in VoteKind if kind.open_state is state), None)


def votes_needed(market: Situation, rules: Rules) -> VotesNeeded | None:
    """What the votes that are open in the market's state have to come to; None where none are."""
    if not market.is_on_chain:
        return None
    match open_votes(market.state):
        case VoteKind.PROPOSAL:
            return _needed_for_approval(market.votes, rules)
        case VoteKind.DISPUTE:
            return _needed_for_dispute(market.votes, rules)
    return None


def votes_missing(votes: VoteCounts, threshold_bps: int, needed: int) -> int | None:
    """How many votes more, all in favour, `passes` would need; None where no number is enough."""
    lacking = votes.total * threshold_bps - votes.yes * BPS
    if lacking > 0 and threshold_bps >= BPS:
        return None
    for_threshold = -(-lacking // (BPS - threshold_bps)) if lacking > 0 else 0
    return max(for_threshold, max(needed, 1) - votes.total, 0)


def _proposed(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    votes = _needed_for_approval(market.votes, rules)
    return (
        _step(market, Action.VOTE_ON_PROPOSAL, Actor.VOTER, possible=not market.votes.are_closed),
        _step(
            market,
            Action.APPROVE,
            Actor.BACKEND,
            leads_to=MarketState.APPROVED,
            votes=votes,
            possible=votes.missing == 0,
        ),
        _cancel(market),
    )


def _cancel(market: Situation) -> PossibleStep:
    return _step(market, Action.CANCEL, Actor.ADMIN, leads_to=MarketState.CANCELLED)


def _withdraw(market: Situation) -> PossibleStep:
    return _step(market, Action.WITHDRAW, Actor.CREATOR, possible=not market.is_withdrawn)


def _active(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    return (
        _step(market, Action.TRADE, Actor.ANYBODY, possible=not rules.program.is_paused),
        _step(
            market,
            Action.RESOLVE,
            Actor.CREATOR,
            Actor.TRUSTED_RESOLVER,
            leads_to=MarketState.RESOLVING,
            opens_at=_after(market.activated_at, 1),
            early_before=market.end,
        ),
    )


def _resolving(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    proposed_at, period = market.resolution_proposed_at, rules.program.dispute_period_seconds
    closes_at = None if proposed_at is None else lifecycle.dispute_closes_at(proposed_at, period)
    disputes = (
        _step(market, Action.REQUEST_DISPUTE, Actor.HOLDER, closes_at=closes_at),
        _step(
            market,
            Action.DISPUTE,
            Actor.ANYBODY,
            leads_to=MarketState.DISPUTED,
            opens_at=_after(proposed_at, 1),
            closes_at=closes_at,
        ),
    )
    if market.decision in {Decision.OVERTURN, Decision.REFUND}:
        return (*disputes, _finalize(market, closes_at=closes_at))
    trusted = is_trusted_resolver(market.resolver, market.creator, rules.backend.trusted_resolvers)
    if trusted or market.decision is Decision.KEEP:
        return (*disputes, _finalize(market, opens_at=_finalizable_at(proposed_at, rules)))
    automatic_at = None if proposed_at is None else lifecycle.automatic_dispute_at(proposed_at, period)
    return (
        *disputes,
        _step(
            market,
            Action.DISPUTE,
            Actor.BACKEND,
            leads_to=MarketState.DISPUTED,
            opens_at=automatic_at,
            closes_at=closes_at,
        ),
        _step(market, Action.DECIDE, Actor.ADMIN, leads_to=MarketState.FINALIZED),
    )


def _disputed(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    begun_at, period = market.dispute_initiated_at, rules.program.dispute_period_seconds
    ends_at = None if begun_at is None else lifecycle.dispute_vote_ends_at(begun_at, period)
    votes = _needed_for_dispute(market.votes, rules)
    vote = _step(
        market,
        Action.VOTE_ON_DISPUTE,
        Actor.HOLDER,
        closes_at=ends_at,
        possible=market.votes.has_voters and not market.votes.are_closed,
    )
    if market.decision is not None:
        return (vote, _finalize(market))
    if market.awaiting_decision:
        return (vote, _step(market, Action.DECIDE, Actor.ADMIN, leads_to=MarketState.FINALIZED))
    if market.settles_at is not None:
        return (
            vote,
            _step(
                market,
                Action.DECIDE,
                Actor.ADMIN,
                leads_to=MarketState.FINALIZED,
                closes_at=market.settles_at,
            ),
            _finalize(market, opens_at=market.settles_at, votes=votes),
        )
    trusted = is_trusted_resolver(market.resolver, market.creator, rules.backend.trusted_resolvers)
    decide = _step(
        market,
        Action.DECIDE,
        Actor.ADMIN,
        leads_to=MarketState.FINALIZED,
        opens_at=ends_at if trusted else None,
        possible=not trusted,  # not before the votes are counted
    )
    if not market.votes.are_known:
        return (vote, decide)
    return (
        vote,
        decide,
        _finalize(
            market,
            opens_at=_after(ends_at, rules.backend.veto_seconds),
            votes=votes,
            possible=False,  # not before it is announced
        ),
    )


def _finalizable_at(proposed_at: int | None, rules: Rules) -> int | None:
    if proposed_at is None:
        return None
    return lifecycle.finalizable_at(
        proposed_at,
        rules.program.dispute_period_seconds,
        rules.backend.finalization_delay_seconds,
        rules.backend.safety_margin_seconds,
    )


def _finalize(
    market: Situation,
    *,
    opens_at: int | None = None,
    closes_at: int | None = None,
    votes: VotesNeeded | None = None,
    possible: bool = True,
) -> PossibleStep:
    return _step(
        market,
        Action.FINALIZE,
        Actor.BACKEND,
        leads_to=MarketState.FINALIZED,
        opens_at=opens_at,
        closes_at=closes_at,
        votes=votes,
        possible=possible,
    )


def _step(
    market: Situation,
    action: Action,
    *by: Actor,
    leads_to: MarketState | None = None,
    opens_at: int | None = None,
    closes_at: int | None = None,
    early_before: int | None = None,
    votes: VotesNeeded | None = None,
    possible: bool = True,
) -> PossibleStep:
    """`possible`: as far as time does not decide it."""
    now, opens_at, closes_at = market.time, _shown(opens_at), _shown(closes_at)
    waits = opens_at is not None and now < opens_at
    is_over = closes_at is not None and now >= closes_at
    return PossibleStep(
        action=action,
        by=by,
        leads_to=leads_to,
        is_open=possible and not waits and not is_over,
        opens_at=opens_at,
        closes_at=closes_at,
        early_before=_shown(early_before),
        votes=votes,
        missing_seconds=opens_at - now if opens_at is not None and waits else None,
    )


def _needed_for_approval(votes: VotesSoFar, rules: Rules) -> VotesNeeded:
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


def _needed_for_dispute(votes: VotesSoFar, rules: Rules) -> VotesNeeded:
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


def _by_time(action: Action, market: Situation, steps: tuple[PossibleStep, ...]) -> str:
    """Why an action is not possible although the market's state is right for it."""
    name, now = _NAMES[action], market.time
    own = [one for one in steps if one.action is action]
    if any(one.is_open for one in own):
        return f"{name} are open, and were not when this one was tried: try a new one"
    closed = [one.closes_at for one in own if one.closes_at is not None and now >= one.closes_at]
    if closed:
        return f"{name} closed at {_told(max(closed))}"
    opening = [one.opens_at for one in own if one.opens_at is not None and now < one.opens_at]
    if opening:
        return f"{name} open at {_told(min(opening))}"
    return f"{name} are not open at this moment; ask again"


def _comes_to(state: MarketState, wanted: MarketState) -> bool:
    return any(after is wanted or _comes_to(after, wanted) for after in _LEADS_TO[state])


def _after(time: int | None, seconds: int) -> int | None:
    return None if time is None else time + seconds


def _shown(time: int | None) -> int | None:
    return None if time is None else min(max(time, 0), _LAST_SECOND)


def _told(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
