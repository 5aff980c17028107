"""Votes on proposals and disputes: one per wallet, cast through the API or on the chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.errors.requests import BalanceTooLow, MarketPending, WrongState
from zmartd.http.kit import earlier_answers, earlier_names, keys
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import EitherTime, Field, MarketKey, MarketRef, ServerTime, Time
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market, find_market
from zmartd.http.markets.schemas import Label, outcome_label
from zmartd.http.markets.situations import indexed_situation, rules_for
from zmartd.http.markets.wrong_state import explanation
from zmartd.http.voting.counting_rules import CountingRuleBody, rule_body
from zmartd.log import get_logger
from zmartd.market.ids import vote_id
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.needed_votes import open_votes, votes_needed
from zmartd.market.next_bodies import StepVotes, step_time, step_votes
from zmartd.market.next_steps import Action, next_steps
from zmartd.market.situation import Situation
from zmartd.market.votes import VoteCounts, share_bps
from zmartd.realtime.messages import Message, VoteCast
from zmartd.store import counted_votes, votes
from zmartd.store.counted_votes import CountedVotes
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.metadata import Registration
from zmartd.store.postgres.rls import ACT_AS_SERVICE
from zmartd.store.votes import (
    AlreadyVoted,
    LiveCounts,
    NotAHolder,
    Vote,
    VotedOutcomeReplaced,
    VotesBeingCounted,
    VotingClosed,
)

log = get_logger(__name__)

_CHOICES = {
    "like": True,
    "agree": True,
    "support": True,
    "dislike": False,
    "disagree": False,
    "reject": False,
}


VOTES: Final = {VoteKind.PROPOSAL: Action.VOTE_ON_PROPOSAL, VoteKind.DISPUTE: Action.VOTE_ON_DISPUTE}
"""The action that each kind of vote is."""


class VoteChoice(Field, int):
    """A vote: true or false, or one of the words that clients use for them."""

    schema: ClassVar[dict[str, Any]] = {"oneOf": [{"type": "boolean"}, {"enum": list(_CHOICES)}]}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if isinstance(raw, bool):
            return cls(raw)
        if isinstance(raw, str) and raw in _CHOICES:
            return cls(_CHOICES[raw])
        raise ValueError("not a vote")


class VoteRequest(Struct, frozen=True, kw_only=True):
    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_VOTE

    market_id: Annotated[MarketRef, Meta(description="a market's id, 64 hexadecimal digits, or address")]
    vote: Annotated[VoteChoice, Meta(description="true or false, or one of " + ", ".join(_CHOICES))]
    """True for the proposed market, or for the dispute, which is against the proposed outcome."""


class VotesQuery(Struct, frozen=True, kw_only=True):
    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_VOTE_FILTER

    vote_type: Annotated[Literal["proposal", "dispute"], Meta(description="proposal or dispute")] = "proposal"
    """The votes on the proposed market, or those on the dispute of its outcome."""


class VoteBody(Struct, frozen=True, kw_only=True):
    """One wallet's vote."""

    id: str | None
    """The id of a vote on the chain, the same in answers and frames; null for one through the API."""
    market_id: MarketKey
    vote_type: Literal["proposal", "dispute"]
    """`proposal` for a vote on a proposed market, `dispute` for one on the dispute of an outcome."""
    vote: bool
    """True for the proposed market, or for the dispute; false against it."""
    user_wallet: str
    """The voter's address, which is the caller's own."""
    voted_at: EitherTime
    """When the vote was cast. By the chain's clock for one on the chain, else by the server's clock."""
    source: Literal["api", "chain"]
    """`api` for a vote through the API, `chain` for one by a transaction on the chain."""
    tx_signature: str | None
    """The signature of the vote's transaction, base58; null for a vote through the API."""


class VoteSums(Struct, frozen=True, kw_only=True):
    """Votes of one kind, cast through the API or on the chain."""

    in_favour: int
    """The number of votes for the proposed market, or for the dispute."""
    against: int
    """The number of votes against it."""
    total: int
    """in_favour + against."""


class VoteStatistics(VoteSums, frozen=True, kw_only=True):
    """Votes of one kind, cast through the API or on the chain, and what share of them is in favour."""

    in_favour_bps: int
    """in_favour in basis points of total, rounded down; 0 without votes."""
    likes: Annotated[int, DEPRECATED]
    """The same as in_favour."""
    dislikes: Annotated[int, DEPRECATED]
    """The same as against."""
    approval_rate: Annotated[str, DEPRECATED]
    """in_favour_bps in percent, with two decimals."""


class CountedBody(VoteSums, frozen=True, kw_only=True):
    """Votes that are counted, by wallet."""

    not_counted: int
    """The number of other votes: on a proposed market those of wallets that had never traded and held too
    little, on a dispute those of wallets that held no shares when the outcome was proposed."""
    counted_at: ServerTime
    """When the votes were counted; later votes are refused."""
    rule: CountingRuleBody | None
    """What they were held to when they were acted on; null before that."""
    tx_signature: str | None
    """The transaction that recorded the counts or carried out a decision, base58; null before that, and where
    the market moved on by somebody else's."""


class MarketVotes(Struct, frozen=True, kw_only=True):
    """The current votes of one kind on a market, and the caller's own vote."""

    market_id: MarketKey
    vote_type: Literal["proposal", "dispute"]
    """The kind of the votes, as requested."""
    stats: VoteStatistics
    """The votes so far."""
    not_counted: int
    """The number of votes on the dispute that were cast on the chain by wallets that held no shares when the
    outcome was proposed."""
    counted: CountedBody | None
    """The votes as they were counted; null before that. They stay to be read once the market has moved on.
    For a dispute GET /api/markets/{id}/settlement has them by stake, too."""
    own_vote: VoteBody | None
    """The caller's vote; null where there is none, and for anonymous callers."""
    type: Annotated[Literal["proposal", "dispute"], DEPRECATED]
    """The same as vote_type."""


class ProposalVotes(VoteSums, frozen=True, kw_only=True):
    """The votes on a proposed market, cast through the API or on the chain."""

    likes: Annotated[int, DEPRECATED]
    """The same as in_favour."""
    dislikes: Annotated[int, DEPRECATED]
    """The same as against."""


class DisputeVotes(VoteSums, frozen=True, kw_only=True):
    """The votes on a disputed outcome, cast through the API or on the chain."""

    agrees: Annotated[int, DEPRECATED]
    """The same as in_favour."""
    disagrees: Annotated[int, DEPRECATED]
    """The same as against."""


class VoteTarget(Struct, frozen=True, kw_only=True):
    """What is voted on at this moment."""

    vote_type: Literal["proposal", "dispute"]
    """`proposal`: whether to approve the market. `dispute`: whether its proposed outcome is wrong."""
    question: str
    """The market's question."""
    proposed_outcome: bool | None
    """The disputed outcome: true for YES, false for NO; null for a proposal."""
    proposed_outcome_label: Label
    """The name of the disputed outcome; null for a proposal."""
    closes_at: Time | None
    """When the votes on a dispute are counted; null for a proposal, which is voted on until it is approved or
    cancelled."""
    votes: StepVotes
    """The votes so far, and what they have to come to."""


class VoteOverview(Struct, frozen=True):
    market_id: MarketKey
    target: VoteTarget | None
    """What is voted on at this moment; null where nothing is."""
    proposal_votes: ProposalVotes
    """The votes on whether to approve the market."""
    dispute_votes: DisputeVotes
    """The votes on whether the proposed outcome is wrong."""


async def cast_proposal_vote(call: Call[VoteRequest]) -> VoteBody:
    return await _cast(call, VoteKind.PROPOSAL)


async def cast_dispute_vote(call: Call[VoteRequest]) -> VoteBody:
    return await _cast(call, VoteKind.DISPUTE)


async def get_market_votes(call: Call[VotesQuery]) -> MarketVotes:
    query = call.input
    kind = VoteKind(query.vote_type)
    caller = call.caller
    database = call.app[keys.DATABASE]
    own: Vote | None = None
    async with database.reader(caller) as connection:
        found = await find_market(connection, call.path["id"])
        market_id = _id_of(found)
        if caller.wallet is not None:
            own = await votes.find(connection, kind, market_id, caller.wallet)
        counted = await counted_votes.find(connection, kind, market_id, is_over=_is_over(kind, found))
    current = await _current(call, found)
    own_body = (
        None if own is None or caller.wallet is None else vote_body(market_id, kind, caller.wallet, own)
    )
    return MarketVotes(
        market_id=market_id,
        vote_type=query.vote_type,
        stats=_statistics(current.of(kind)),
        not_counted=current.not_counted if kind is VoteKind.DISPUTE else 0,
        counted=None if counted is None else _counted(counted),
        own_vote=own_body,
        **earlier_answers.of_market_votes(query.vote_type),
    )


async def get_vote_overview(call: Call[None]) -> VoteOverview:
    database = call.app[keys.DATABASE]
    async with database.reader(call.caller) as connection:
        found = await find_market(connection, call.path["id"])
    market_id = _id_of(found)
    current = await _current(call, found)
    counts = {kind: current.of(kind) for kind in VoteKind}
    target = None
    if isinstance(found, MarketRow) and (kind := open_votes(found.state)) is not None:
        situation = await indexed_situation(call.app, found)
        target, counts[kind] = _target(call, found, kind, situation), situation.votes.counts
    proposal, dispute = counts[VoteKind.PROPOSAL], counts[VoteKind.DISPUTE]
    return VoteOverview(
        market_id,
        target,
        ProposalVotes(**_sums(proposal), **earlier_answers.of_proposal_votes(proposal.yes, proposal.no)),
        DisputeVotes(**_sums(dispute), **earlier_answers.of_dispute_votes(dispute.yes, dispute.no)),
    )


def _is_over(kind: VoteKind, found: MarketRow | Registration) -> bool:
    """Whether a market has moved on from where it was voted on."""
    if not isinstance(found, MarketRow):
        return False
    if kind is VoteKind.PROPOSAL:
        return found.state is not MarketState.PROPOSED
    return found.state is MarketState.FINALIZED


def _counted(counted: CountedVotes) -> CountedBody:
    return CountedBody(
        **_sums(counted.counts),
        not_counted=counted.not_counted,
        counted_at=iso_time(counted.counted_at),
        rule=rule_body(counted.rule),
        tx_signature=counted.signature,
    )


def _id_of(found: MarketRow | Registration) -> str:
    return found.id if isinstance(found, MarketRow) else found.metadata.market_id


async def _current(call: Call[Any], found: MarketRow | Registration) -> LiveCounts:
    """The votes at the position at which the market was found; a pending market has none."""
    if not isinstance(found, MarketRow):
        return LiveCounts(VoteCounts(0, 0), VoteCounts(0, 0), 0)
    entries = await call.app[keys.LIVE_VOTES].at({found.id: found.stream_position})
    return entries[found.id].counts


def _target(call: Call[Any], market: MarketRow, kind: VoteKind, situation: Situation) -> VoteTarget:
    rules = rules_for(call.app, market.rules)
    needed = votes_needed(situation, rules)
    assert needed is not None, "of a market that is voted on"
    is_dispute = kind is VoteKind.DISPUTE
    outcome = market.proposed_outcome if is_dispute else None
    closing = (step.closes_at for step in next_steps(situation, rules) if step.action is VOTES[kind])
    return VoteTarget(
        vote_type=kind.value,
        question=market.question,
        proposed_outcome=outcome,
        proposed_outcome_label=None if outcome is None else outcome_label(outcome),
        closes_at=step_time(next(closing, None)),
        votes=step_votes(needed),
    )


async def _cast(call: Call[VoteRequest], kind: VoteKind) -> VoteBody:
    body = call.input
    wallet = call.wallet
    if kind is VoteKind.PROPOSAL:
        await require_proposal_voter(call, wallet)
    try:
        async with call.app[keys.DATABASE].caller(call.caller) as connection:
            market = await chain_market(connection, body.market_id)
            vote = await votes.cast(connection, kind, market.id, wallet, bool(body.vote))
            await connection.execute(ACT_AS_SERVICE)
            message = Message(market.id, VoteCast(vote_type=kind), vote.voted_at, category=market.category)
            messages = await call.app[keys.PUBLISHER].append(connection, [message])
    except VotingClosed as error:
        raise await _closed(call, kind, error) from error
    await call.app[keys.PUBLISHER].publish(messages)
    return vote_body(market.id, kind, wallet, vote)


async def _closed(call: Call[VoteRequest], kind: VoteKind, error: VotingClosed) -> WrongState:
    """`error` for the caller, with what the market's state means and what can happen next."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, call.input.market_id)
    message, step = await explanation(call, market, VOTES[kind])
    return WrongState(
        step, error.message if isinstance(error, VotesBeingCounted | VotedOutcomeReplaced) else message
    )


async def require_proposal_voter(call: Call[Any], wallet: str) -> None:
    """Raises BalanceTooLow for a wallet whose vote on a proposal would not count now.

    A vote counts for a wallet that has traded, or that holds at least the minimum balance.
    """
    minimum = call.app[keys.VOTING].proposal_min_balance_lamports
    if not minimum:
        return
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        if await votes.has_traded(connection, wallet):
            return
    address = Pubkey.from_string(wallet)
    balance = (await call.app[keys.RPC].balances_at_once([address]))[address]
    if balance < minimum:
        raise BalanceTooLow(balance, minimum)


def vote_body(market_id: str, kind: VoteKind, wallet: str, vote: Vote) -> VoteBody:
    signature = vote.tx_signature
    return VoteBody(
        id=None if signature is None else vote_id(kind, signature, market_id, wallet),
        market_id=market_id,
        vote_type=kind.value,
        vote=vote.vote,
        user_wallet=wallet,
        voted_at=iso_time(vote.voted_at),
        source=vote.source,
        tx_signature=signature,
    )


def _statistics(counts: VoteCounts) -> VoteStatistics:
    bps = share_bps(counts.yes, counts.total)
    earlier = earlier_answers.of_vote_statistics(counts.yes, counts.no, bps)
    return VoteStatistics(**_sums(counts), in_favour_bps=bps, **earlier)


def vote_sums(counts: VoteCounts) -> VoteSums:
    """The JSON of counts."""
    return VoteSums(**_sums(counts))


def _sums(counts: VoteCounts) -> dict[str, Any]:
    """The fields of VoteSums."""
    return {"in_favour": counts.yes, "against": counts.no, "total": counts.total}


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/votes/proposal",
        handler=cast_proposal_vote,
        name="vote_on_proposal",
        summary="Vote on a proposed market",
        tag="votes",
        body=VoteRequest,
        responses={201: VoteBody},
        errors=(
            MarketNotFound,
            MarketPending,
            BalanceTooLow,
            AlreadyVoted,
            WrongState,
            RpcUnavailable,
            RpcRejected,
        ),
        access=Access.WALLET,
    ),
    Operation(
        method="POST",
        path="/api/votes/dispute",
        handler=cast_dispute_vote,
        name="vote_on_dispute",
        summary="Vote on a disputed outcome",
        tag="votes",
        body=VoteRequest,
        responses={201: VoteBody},
        errors=(MarketNotFound, MarketPending, NotAHolder, AlreadyVoted, WrongState),
        access=Access.WALLET,
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/votes",
        handler=get_market_votes,
        shows_market=True,
        summary="The current votes of one kind on a market, and the caller's own",
        tag="votes",
        access=Access.PUBLIC,
        query=VotesQuery,
        responses={200: MarketVotes},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/votes/{id}",
        handler=get_vote_overview,
        shows_market=True,
        summary="The current votes of both kinds on a market",
        tag="votes",
        access=Access.PUBLIC,
        responses={200: VoteOverview},
        errors=(MarketNotFound,),
    ),
)
