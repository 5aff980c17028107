"""What can happen next with a market, in the JSON of the API."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from zmartd.market.iso_time import iso_time, utc_from_unix
from zmartd.market.json_fields import MarketKey, StateName, Time
from zmartd.market.needed_votes import VotesNeeded
from zmartd.market.next_steps import Action, Actor, PossibleStep

ActionName = Annotated[
    str,
    Meta(
        description="what is done to a market",
        extra_json_schema={"enum": [action.value for action in Action]},
    ),
]
ActorName = Annotated[
    str, Meta(description="who does it", extra_json_schema={"enum": [actor.value for actor in Actor]})
]


class StepVotes(Struct, frozen=True, kw_only=True):
    """The votes so far, by wallet, and what they have to come to."""

    in_favour: int
    """The number of votes for the proposed market, or for the dispute. On a dispute those of its holders
    alone, which are all that count."""
    against: int
    """The number of votes against it."""
    in_favour_by_balance: int
    """How many of `in_favour` are of wallets that have never traded: they count only if the wallet holds
    `proposal_min_balance` (GET /api/protocol) when the votes are counted. 0 on a dispute."""
    against_by_balance: int
    """The same of `against`."""
    needed: int
    """The least number of votes, for and against together."""
    threshold_bps: int
    """The least share of the votes that has to be in favour, in basis points."""
    quorum_bps: int | None
    """The least share of the holders' stake that has to vote, in basis points; null for a proposed market. By
    stake, too, the threshold has to be reached."""
    missing: int | None
    """How many votes more, all in favour and of wallets that count, are enough by wallet if all votes so far
    count; null where no number would be."""
    missing_at_most: int | None
    """The same, whichever of the votes that depend on a balance count."""


class NextStep(Struct, frozen=True, kw_only=True):
    """One thing that can happen next. Times are the chain's."""

    action: ActionName
    """What can be done."""
    by: tuple[ActorName, ...]
    """Who can do it. `voter`: a wallet that has traded before, or holds the least balance that
    GET /api/protocol names. `holder`: a wallet that held shares when the outcome was proposed. `winner`: one
    with shares of the final outcome; without one every `holder` claims. `backend`: the daemon does it by
    itself."""
    leads_to: StateName | None
    """The state that the market comes to; null where it stays in its state."""
    open: bool
    """Whether it can be done now; not while the program is paused, for what that refuses, nor `claim`
    once all have claimed, nor `withdraw` a second time. What the backend tries in its next run is open."""
    opens_at: Time | None
    """It cannot be done before; null where no time decides."""
    closes_at: Time | None
    """It cannot be done from then on; null where no time decides."""
    early_before: Time | None
    """Before this time it is early: POST /api/markets/{id}/resolve then needs `early` and a reason."""
    votes: StepVotes | None
    """The votes that it needs; null where votes do not decide."""
    missing_seconds: int | None
    """How many seconds are missing until opens_at; null once that has come."""


class StepDetails(Struct, frozen=True, kw_only=True):
    """Of an error about a market that is not in the state, or at the time, for what was asked of it."""

    market_id: MarketKey
    state: StateName
    """The state that the market is in."""
    expected_states: tuple[StateName, ...]
    """The states in which it can be done. The market may be in one of them, where it is the time or its votes
    that are in the way: the message says so, and `next` until when."""
    next: tuple[NextStep, ...]
    """What can happen next with the market, and when."""
    program_error_name: str | UnsetType = UNSET
    """The program's name for the reason; left out where the program was not asked."""
    signature: str | UnsetType = UNSET
    """The signature of the transaction that was refused, base58; left out before one is signed."""


def next_step(step: PossibleStep) -> NextStep:
    """The JSON of one step."""
    return NextStep(
        action=step.action.value,
        by=tuple(actor.value for actor in step.by),
        leads_to=None if step.leads_to is None else step.leads_to.name,
        open=step.is_open,
        opens_at=step_time(step.opens_at),
        closes_at=step_time(step.closes_at),
        early_before=step_time(step.early_before),
        votes=None if step.votes is None else step_votes(step.votes),
        missing_seconds=step.missing_seconds,
    )


def step_votes(votes: VotesNeeded) -> StepVotes:
    """The JSON of votes so far."""
    return StepVotes(
        in_favour=votes.in_favour,
        against=votes.against,
        in_favour_by_balance=votes.in_favour_by_balance,
        against_by_balance=votes.against_by_balance,
        needed=votes.needed,
        threshold_bps=votes.threshold_bps,
        quorum_bps=votes.quorum_bps,
        missing=votes.missing,
        missing_at_most=votes.missing_at_most,
    )


def step_time(seconds: int | None) -> str | None:
    """A time of a step, in unix seconds, as ISO 8601."""
    return None if seconds is None else iso_time(utc_from_unix(seconds))
