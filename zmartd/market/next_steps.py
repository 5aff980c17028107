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
from zmartd.market.lifecycle import MarketState
from zmartd.market.needed_votes import VotesNeeded, needed_for_approval, needed_for_dispute
from zmartd.market.situation import Rules, Situation

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
    opening = [one.opens_at for one in steps if one.leads_to in expected and one.opens_at is not None]
    earliest = [seconds for seconds in opening if seconds > market.now]
    not_before = f", not before {_told(min(earliest))}" if earliest else ""
    return f"{is_now}; {name} open once it is {states}{not_before}."


def _proposed(market: Situation, rules: Rules) -> tuple[PossibleStep, ...]:
    votes = needed_for_approval(market.votes, rules)
    return (
        _step(market, Action.VOTE_ON_PROPOSAL, Actor.VOTER, possible=not market.votes.are_closed),
        _step(
            market,
            Action.APPROVE,
            Actor.ADMIN if market.awaiting_admin_approval else Actor.BACKEND,
            leads_to=MarketState.APPROVED,
            votes=votes,
            possible=market.awaiting_admin_approval or votes.missing == 0,
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
    votes = needed_for_dispute(market.votes, rules)
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
