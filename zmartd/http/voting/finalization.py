"""How a resolved market comes to its final outcome: its resolver, the votes, an admin's decision."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, MarketKey, StateName, Text, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.market.decisions import Decision, is_trusted_resolver
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.store import decisions, tallies
from zmartd.store.decisions import AlreadyDecided, MarketDecision
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.tallies import Tally
from zmartd.tasks.admin_decisions import DisputeWindowClosed, NothingToDecide, NotTheAdmin, SettlementUnderWay

Resolver = Literal["creator", "trusted_resolver", "stranger"]


class Reason(Text):
    """Why an admin decides as it does, for everybody to read."""

    shortest: ClassVar[int] = 10
    longest: ClassVar[int] = 2_000


class DecisionRequest(Struct, frozen=True, kw_only=True):
    decision: Annotated[
        Literal["keep", "overturn", "refund"],
        Meta(description="keep or overturn the proposed outcome, or refund to every holder what it paid in"),
    ]
    because: Annotated[Reason, Meta(description="a text of 10 to 2000 characters, shown to everybody")]


class DecisionBody(Struct, frozen=True, kw_only=True):
    """What an admin decided about a market. The backend carries it out within its next run."""

    market_id: MarketKey
    state: StateName
    """The state that the market was in."""
    decision: Literal["keep", "overturn", "refund"]
    """Whether the proposed outcome is kept or overturned, or all are refunded."""
    because: str
    """The reason, in the admin's words."""
    decided_by: str | None
    """The admin's wallet; null where the operator decided at the daemon's command line."""
    decided_at: Time
    """When it was decided."""


class Side(Struct, frozen=True):
    agree: Amount
    """For the dispute: the proposed outcome is wrong."""
    disagree: Amount
    """Against it."""
    electorate: Amount
    """Of all who might have voted."""


class TallyBody(Struct, frozen=True, kw_only=True):
    """A dispute's votes, counted. They settle it only where both tallies say the same."""

    wallets: Side
    """One vote for each wallet."""
    stake: Side
    """Lamports: what each wallet's shares had cost it when the outcome was proposed."""
    not_counted: int
    """Votes cast on the chain by wallets that held no shares then."""
    counted_at: Time
    """When the votes were counted; later ones are refused."""


class SettlementBody(Struct, frozen=True, kw_only=True):
    market_id: MarketKey
    state: StateName
    """Where in its life the market is."""
    proposed_outcome: bool | None
    """True for YES, false for NO; null before."""
    resolver_wallet: str | None
    """The wallet that proposed the outcome; null before."""
    resolved_by: Resolver | None
    """Whether that wallet is the market's creator, or one that the operator trusts. What a stranger proposed
    never becomes final by time alone. Null before."""
    awaiting_decision: bool
    """Whether the outcome becomes final only when an admin decides."""
    settles_at: Time | None
    """When the dispute is settled as the tallies say, unless an admin decides before; null otherwise."""
    tally: TallyBody | None
    """The dispute's votes; null until they are counted, and once the outcome is final."""
    decisions: tuple[DecisionBody, ...]
    """What admins decided about this market, oldest first."""


async def settlement(call: Call[None]) -> SettlementBody:
    """Nobody learns how a single wallet voted: votes are shown as sums, the stake's once voting is over."""
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await chain_market(connection, call.path["id"])
        tally = await tallies.find(connection, VoteKind.DISPUTE, market.id)
        decided = await decisions.of_market(connection, market.id)
    return SettlementBody(
        market_id=market.id,
        state=market.state.name,
        proposed_outcome=market.proposed_outcome,
        resolver_wallet=market.resolver_wallet,
        resolved_by=_resolved_by(market, call.app[keys.VOTING].trusted_resolvers),
        awaiting_decision=market.awaiting_decision,
        settles_at=None if market.settles_at is None else iso_time(market.settles_at),
        tally=None if tally is None or tally.counted_at is None else _tally(tally, tally.counted_at),
        decisions=tuple(_decision(one) for one in decided),
    )


async def decide(call: Call[DecisionRequest]) -> DecisionBody:
    """For the program's admin: about a disputed market whose votes are counted, or one whose outcome a
    stranger proposed. A decision once made stays. A refund ends the market without an outcome.
    """
    body = call.input
    wallet, admin_decisions = call.session.wallet, call.app[keys.ADMIN_DECISIONS]
    await admin_decisions.require_admin(wallet)
    made = await admin_decisions.decide(call.path["id"], Decision(body.decision), body.because, wallet)
    return _decision(made)


def _resolved_by(market: MarketRow, trusted: tuple[str, ...]) -> Resolver | None:
    if market.resolver_wallet is None:
        return None
    if market.resolver_wallet == market.creator_wallet:
        return "creator"
    is_trusted = is_trusted_resolver(market.resolver_wallet, market.creator_wallet, trusted)
    return "trusted_resolver" if is_trusted else "stranger"


def _tally(tally: Tally, counted_at: datetime) -> TallyBody:
    return TallyBody(
        wallets=_side(tally.counts, tally.electorate_wallets),
        stake=_side(tally.stake, tally.electorate_stake),
        not_counted=tally.not_counted,
        counted_at=iso_time(counted_at),
    )


def _side(counts: VoteCounts, electorate: int) -> Side:
    return Side(amount(counts.yes), amount(counts.no), amount(electorate))


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
        handler=settlement,
        summary="How a market comes to its final outcome",
        tag="markets",
        answers={200: SettlementBody},
        errors=(MarketNotFound, MarketPending),
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/decisions",
        handler=decide,
        summary="Decide, as the admin, what becomes of a resolved or disputed market",
        tag="markets",
        body=DecisionRequest,
        answers={201: DecisionBody},
        errors=(
            MarketNotFound,
            NotTheAdmin,
            NothingToDecide,
            AlreadyDecided,
            SettlementUnderWay,
            DisputeWindowClosed,
            ProtocolNotInitialized,
            RpcUnavailable,
            RpcRejected,
        ),
        access=Access.SESSION,
    ),
)
