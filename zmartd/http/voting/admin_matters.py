"""What awaits an admin: proposals to approve, and outcomes to decide."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.failures import ProgramRefused
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.kit import keys
from zmartd.http.kit.fields import MarketKey, StateName, Time
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    NextCursor,
    NextPage,
    PageLength,
    decode_cursor,
    encode_cursor,
)
from zmartd.http.voting.disputes import ResolverKind, TallyBody, resolver_kind, tally_body
from zmartd.http.voting.votes import VoteSums, vote_sums
from zmartd.market.decisions import Decision, possible_decisions
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.store import admin_matters, electorates, tallies
from zmartd.store.admin_matters import AdminMatter, MatterPageKey
from zmartd.store.markets import MarketRow
from zmartd.store.tallies import Tally
from zmartd.transactions.funds import InsufficientFunds
from zmartd.transactions.unsigned import UnsignedTransaction

_MAY = "may see what awaits an admin"

MatterKind = Literal["approve_proposal", "decide_dispute", "veto_settlement", "decide_resolution"]


class PendingQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 20
    cursor: NextCursor = None


class PendingMatter(Struct, frozen=True, kw_only=True):
    """A market about which an admin has something to do."""

    kind: MatterKind
    """`approve_proposal`: its votes are on the chain, and only the admin can approve it. `decide_dispute`:
    the votes settle nothing. `veto_settlement`: the votes settle it at settles_at, unless an admin decides
    otherwise before. `decide_resolution`: a stranger proposed the outcome, which time does not make final."""
    market_id: MarketKey
    question: str
    """The market's question; empty for a market that was not registered."""
    state: StateName
    """The market's state, by name."""
    since: Time
    """Since when it is in that state."""
    proposal_votes: VoteSums | None
    """The votes on the proposal as they are recorded on the chain; null for another kind."""
    proposed_outcome: bool | None
    """True for YES, false for NO; null for a proposal, and where no outcome was proposed."""
    resolver_wallet: str | None
    """The wallet that proposed the outcome; null for a proposal."""
    resolver_kind: ResolverKind | None
    """Whether that wallet is the market's creator, one that the operator trusts, or a stranger; null for a
    proposal."""
    settles_at: Time | None
    """When the votes settle the dispute; null where they do not."""
    electorate_known: bool
    """Whether all votes and stakes are known; see GET /api/markets/{id}/settlement."""
    tally: TallyBody | None
    """The votes of the dispute; null where there are none, and before they are counted."""
    possible_decisions: tuple[Literal["keep", "overturn", "refund"], ...]
    """What POST /api/markets/{id}/decisions would accept now; empty for a proposal."""
    approval: UnsignedTransaction | None
    """For a proposal the transaction that approves it, for the program's admin to sign and to send to
    POST /api/transactions; null for another kind, and where the chain would refuse it now."""
    refused: str | None
    """Why there is no approval for a proposal; else null."""


class PendingMatters(Struct, frozen=True):
    """A page of what awaits an admin, what has waited longest first."""

    matters: tuple[PendingMatter, ...]
    """The markets of this page."""
    count: PageLength
    total: Annotated[int, Meta(description="the number of markets that await an admin, on all pages")]
    limit: int
    """The maximum length of a page, as requested."""
    next_cursor: NextPage


async def list_pending_matters(call: Call[PendingQuery]) -> PendingMatters:
    """Only for the program's admin, and for wallets in the operator's `auth.admins`. A transaction is built
    on a recent blockhash: read the list again for one that is void.
    """
    query, app = call.input, call.app
    after = decode_cursor(query.cursor, MatterPageKey)
    await app[keys.ADMINS].require_any(call.session.wallet, _MAY)
    async with app[keys.DATABASE].service_reader() as connection:
        page = await admin_matters.page(connection, query.limit, after)
        market_ids = [matter.market.id for matter in page.rows]
        counted = await tallies.find_all(connection, VoteKind.DISPUTE, market_ids)
        not_known = await electorates.not_known(connection, market_ids)
    now = await app[keys.CHAIN_TIME]()
    approvals = await _approvals(call, [matter.market for matter in page.rows])
    trusted = app[keys.VOTING].trusted_resolvers
    matters = tuple(
        _matter(
            matter,
            counted.get(matter.market.id),
            approvals.get(matter.market.id),
            trusted,
            now,
            is_known=matter.market.id not in not_known,
        )
        for matter in page.rows
    )
    return PendingMatters(matters, len(matters), page.total, query.limit, encode_cursor(page.next_key))


async def _approvals(
    call: Call[PendingQuery], markets: list[MarketRow]
) -> dict[str, UnsignedTransaction | str]:
    """The admin's transaction for each proposal, or why the chain would refuse it, by the market's id."""
    proposals = [market for market in markets if market.awaiting_admin_approval]
    if not proposals:
        return {}
    builder, program = call.app[keys.TRANSACTION_BUILDER], call.app[keys.PROGRAM]
    admin = await call.app[keys.ADMINS].of_program()

    async def approval(market: MarketRow) -> UnsignedTransaction | str:
        approve = program.approve_proposal(
            admin=Pubkey.from_string(admin), market=Pubkey.from_string(market.on_chain_address)
        )
        try:
            return await builder.build(admin, approve)
        except (ProgramRefused, InsufficientFunds) as error:
            return error.message

    built = await asyncio.gather(*map(approval, proposals))
    return {market.id: one for market, one in zip(proposals, built, strict=True)}


def _matter(
    matter: AdminMatter,
    tally: Tally | None,
    approval: UnsignedTransaction | str | None,
    trusted: tuple[str, ...],
    now: int,
    *,
    is_known: bool,
) -> PendingMatter:
    market = matter.market
    recorded = VoteCounts(market.proposal_likes, market.proposal_dislikes)
    return PendingMatter(
        kind=_kind(market),
        market_id=market.id,
        question=market.question,
        state=market.state.name,
        since=iso_time(matter.since),
        proposal_votes=vote_sums(recorded) if market.awaiting_admin_approval else None,
        proposed_outcome=market.proposed_outcome,
        resolver_wallet=market.resolver_wallet,
        resolver_kind=resolver_kind(market, trusted),
        settles_at=iso_time_or_none(market.settles_at),
        electorate_known=is_known,
        tally=None if tally is None or tally.counted_at is None else tally_body(tally),
        possible_decisions=tuple(one.value for one in _decisions(market, now)),
        approval=approval if isinstance(approval, UnsignedTransaction) else None,
        refused=approval if isinstance(approval, str) else None,
    )


def _kind(market: MarketRow) -> MatterKind:
    if market.awaiting_admin_approval:
        return "approve_proposal"
    if market.state is MarketState.RESOLVING:
        return "decide_resolution"
    return "decide_dispute" if market.awaiting_decision else "veto_settlement"


def _decisions(market: MarketRow, now: int) -> tuple[Decision, ...]:
    proposed_at = market.resolution_proposed_at
    if market.awaiting_admin_approval or market.decision is not None or proposed_at is None:
        return ()
    period_seconds = market.rules.dispute_period_seconds
    return possible_decisions(market.state, int(proposed_at.timestamp()), period_seconds, now)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/admin/pending",
        handler=list_pending_matters,
        summary="List what awaits an admin, with the transactions to sign",
        tag="admin",
        query=PendingQuery,
        responses={200: PendingMatters},
        errors=(NotTheAdmin, ProtocolNotInitialized, RpcUnavailable, RpcRejected),
        access=Access.SESSION,
    ),
)
