"""How a resolved market gets its final outcome: dispute requests, dispute votes, an admin's decision."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.errors.requests import MarketPending, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, MarketKey, ServerTime, StateName, Text, Time, amount
from zmartd.http.kit.operation import Access, Call, JsonResponse, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explanation, require_open
from zmartd.http.voting.counting_rules import CountingRuleBody, rule_body
from zmartd.market.decisions import Decision, is_trusted_resolver
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.next_steps import Action
from zmartd.market.votes import VoteCounts
from zmartd.store import counted_votes, decisions, dispute_requests, electorates
from zmartd.store.counted_votes import CountedVotes
from zmartd.store.decisions import AlreadyDecided, MarketDecision
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.tallies import Tally
from zmartd.tasks.admin_decisions import DisputeWindowClosed, NothingToDecide, SettlementUnderWay

ResolverKind = Literal["creator", "trusted_resolver", "stranger"]


class Petition(Struct, frozen=True):
    """How many of a market's holders request a dispute of the proposed outcome.

    Holders are the wallets that held shares when the outcome was proposed, without those whose stake is below
    the minimum that counts.
    """

    market_id: MarketKey
    requests_count: int
    """The number of holders that have requested a dispute."""
    holders_count: int
    """The number of all holders."""


class DecisionReason(Text):
    """An admin's reason, which is public."""

    min_length: ClassVar[int] = 10
    max_length: ClassVar[int] = 2_000


class DecisionRequest(Struct, frozen=True, kw_only=True):
    decision: Annotated[
        Literal["keep", "overturn", "refund"],
        Meta(description="keep or overturn the proposed outcome, or refund to every holder what it paid in"),
    ]
    because: Annotated[
        DecisionReason, Meta(description="a text of 10 to 2000 characters, shown to everybody")
    ]
    """Why the admin decides so."""


class DecisionBody(Struct, frozen=True, kw_only=True):
    """An admin's decision about a market. The backend carries it out in its next run."""

    market_id: MarketKey
    state: StateName
    """The market's state at the decision."""
    decision: Literal["keep", "overturn", "refund"]
    """Whether the proposed outcome is kept, overturned, or all holders are refunded."""
    because: str
    """The admin's reason."""
    decided_by: str | None
    """The admin's wallet; null where the operator decided on the daemon's command line."""
    decided_at: ServerTime
    """When the decision was made."""


class TallyCounts(Struct, frozen=True):
    """The votes of a dispute by one measure: wallets, or lamports of stake."""

    in_favour: Amount
    """For the dispute: the proposed outcome is wrong."""
    against: Amount
    """Against the dispute."""
    electorate: Amount
    """Of all holders that could vote."""


class TallyBody(Struct, frozen=True, kw_only=True):
    """The counted votes of a dispute. They settle it only where both tallies have the same result."""

    wallets: TallyCounts
    """One vote per wallet."""
    stake: TallyCounts
    """Lamports: the cost basis of each wallet's shares when the outcome was proposed."""
    not_counted: int
    """The number of votes cast on the chain by wallets that held no shares then."""
    counted_at: ServerTime
    """When the votes were counted; later votes are refused."""
    rule: CountingRuleBody | None
    """What they were held to when they were acted on; null before that."""
    tx_signature: str | None
    """The transaction that recorded the counts or carried out a decision, base58; null before that."""


class SettlementBody(Struct, frozen=True, kw_only=True):
    market_id: MarketKey
    state: StateName
    """The market's state, by name."""
    proposed_outcome: bool | None
    """True for YES, false for NO; null before an outcome is proposed."""
    resolver_wallet: str | None
    """The wallet that proposed the outcome; null before that."""
    resolver_kind: ResolverKind | None
    """Whether that wallet is the market's creator, one that the operator trusts, or a stranger. A stranger's
    outcome needs a dispute or an admin's decision to become final. Null before an outcome is proposed."""
    awaiting_decision: bool
    """Whether the outcome becomes final only when an admin decides."""
    settles_at: Time | None
    """When the tallies will settle the dispute, unless an admin decides before; null while no settlement is
    announced."""
    electorate_known: bool
    """Whether all votes and stakes are known. Where they are not, because a transaction of the market could
    not be read, the tallies may lack some and settle nothing: an admin decides."""
    tally: TallyBody | None
    """The votes of the dispute, also once the outcome is final; null before they are counted."""
    decisions: tuple[DecisionBody, ...]
    """The admins' decisions about this market, oldest first."""


async def request_dispute(call: Call[None]) -> JsonResponse:
    """201 for a holder's first request, 200 for a repeated one.

    When enough holders have requested it, the backend opens the dispute.
    """
    wallet = call.wallet
    database = call.app[keys.DATABASE]
    async with database.reader(call.caller) as reader:
        market = await chain_market(reader, call.path["id"])
    await require_open(call, market, Action.REQUEST_DISPUTE)
    async with database.caller(call.caller) as connection:
        is_new = await dispute_requests.request(connection, market.id, wallet)
    async with database.service_reader() as service:
        min_stake = call.app[keys.VOTING].min_stake_lamports
        counts = await dispute_requests.counts(service, market.id, min_stake)
    return JsonResponse(Petition(market.id, counts.requests, counts.holders), 201 if is_new else 200)


async def get_settlement(call: Call[None]) -> SettlementBody:
    """Votes are shown as sums, never by wallet; the stake only once voting is over."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, call.path["id"])
        is_final = market.state is MarketState.FINALIZED
        tally = await counted_votes.find(connection, VoteKind.DISPUTE, market.id, is_over=is_final)
        decided = await decisions.of_market(connection, market.id)
    async with call.app[keys.DATABASE].service_reader() as connection:
        not_known = await electorates.not_known(connection, [market.id])
    return SettlementBody(
        market_id=market.id,
        state=market.state.name,
        proposed_outcome=market.proposed_outcome,
        resolver_wallet=market.resolver_wallet,
        resolver_kind=resolver_kind(market, call.app[keys.VOTING].trusted_resolvers),
        awaiting_decision=market.awaiting_decision,
        settles_at=iso_time_or_none(market.settles_at),
        electorate_known=not not_known,
        tally=None if tally is None else tally_body(tally),
        decisions=tuple(_decision(one) for one in decided),
    )


async def decide(call: Call[DecisionRequest]) -> DecisionBody:
    """Only for the program's admin, and only about a disputed market whose votes are counted, or one whose
    outcome a stranger proposed. A decision cannot be changed. A refund ends the market without an outcome.
    """
    body = call.input
    wallet, admin_decisions = call.session.wallet, call.app[keys.ADMIN_DECISIONS]
    await call.app[keys.ADMINS].require(wallet)
    try:
        made = await admin_decisions.decide(call.path["id"], Decision(body.decision), body.because, wallet)
    except (NothingToDecide, DisputeWindowClosed, SettlementUnderWay) as error:
        async with call.app[keys.DATABASE].reader(call.caller) as connection:
            market = await chain_market(connection, call.path["id"])
        _, step = await explanation(call, market, Action.DECIDE)
        raise WrongState(step, error.message) from error
    return _decision(made)


def resolver_kind(market: MarketRow, trusted: tuple[str, ...]) -> ResolverKind | None:
    """Who proposed the market's outcome, from the market's view; None before that."""
    if market.resolver_wallet is None:
        return None
    if market.resolver_wallet == market.creator_wallet:
        return "creator"
    is_trusted = is_trusted_resolver(market.resolver_wallet, market.creator_wallet, trusted)
    return "trusted_resolver" if is_trusted else "stranger"


def tally_body(tally: CountedVotes | Tally) -> TallyBody:
    """The JSON of votes that are counted."""
    assert tally.counted_at is not None, "votes that are counted"
    return TallyBody(
        wallets=_tally_counts(tally.counts, tally.electorate_wallets),
        stake=_tally_counts(tally.stake, tally.electorate_stake),
        not_counted=tally.not_counted,
        counted_at=iso_time(tally.counted_at),
        rule=rule_body(tally.rule),
        tx_signature=tally.signature,
    )


def _tally_counts(counts: VoteCounts, electorate: int) -> TallyCounts:
    return TallyCounts(amount(counts.yes), amount(counts.no), amount(electorate))


def _decision(made: MarketDecision) -> DecisionBody:
    return DecisionBody(
        market_id=made.market_id,
        state=made.state.name,
        decision=made.decision.value,
        because=made.because,
        decided_by=made.decided_by,
        decided_at=iso_time(made.decided_at),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/settlement",
        handler=get_settlement,
        shows_market=True,
        summary="How a market gets its final outcome",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: SettlementBody},
        errors=(MarketNotFound, MarketPending),
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute-requests",
        handler=request_dispute,
        summary="Request, as a holder, a dispute of the proposed outcome",
        tag="markets",
        responses={201: Petition, 200: Petition},
        errors=(MarketNotFound, MarketPending, WrongState, DisputeRequestRefused),
        access=Access.WALLET,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/decisions",
        handler=decide,
        name="decide_outcome",
        summary="Decide, as the admin, the outcome of a resolved or disputed market",
        tag="markets",
        body=DecisionRequest,
        responses={201: DecisionBody},
        errors=(
            MarketNotFound,
            NotTheAdmin,
            WrongState,
            AlreadyDecided,
            ProtocolNotInitialized,
            RpcUnavailable,
            RpcRejected,
        ),
        access=Access.SESSION,
    ),
)
