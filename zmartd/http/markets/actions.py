"""The transactions with which creators, holders, resolvers and the admin act on a market."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.failures import ProgramRefused
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.http.errors.requests import (
    InvalidRequest,
    MarketPending,
    NotTheCreator,
    Problem,
    TooEarly,
    WrongState,
)
from zmartd.http.kit import earlier_names, keys
from zmartd.http.kit.fields import ContentId, MarketKey
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.evidence import EarlyReason, EvidenceText, Sources, document_path
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state, too_early
from zmartd.log import get_logger
from zmartd.market.decisions import is_trusted_resolver
from zmartd.market.evidence import EvidenceTexts
from zmartd.market.iso_time import iso_time_or_none
from zmartd.market.lifecycle import MarketState
from zmartd.market.next_steps import Action
from zmartd.realtime.snapshots import state_message
from zmartd.store import evidence, markets
from zmartd.store.evidence import NotTheDisputer
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.postgres.rls import ACT_AS_SERVICE
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import read_live_market
from zmartd.transactions.unsigned import UnsignedTransaction

log = get_logger(__name__)

_CREATOR_MAY: Final = {
    Action.ACTIVATE: "or the program's admin may activate it; sign in as one of them",
    Action.WITHDRAW: "may withdraw its liquidity; sign in with that wallet",
}
"""What the program calls Unauthorized from others."""
_OWED = "What the market still holds is owed to its holders and its resolver, or is its account's rent."
_WITHDRAWN = f"The liquidity of this market is already withdrawn. {_OWED}"
_NOTHING_TO_WITHDRAW = f"There is nothing to withdraw from this market. {_OWED}"


class ResolveRequest(Struct, frozen=True, kw_only=True):
    """The evidence is a text, or links, or both, of which the daemon makes the document; or the content id of
    a document that is kept elsewhere.
    """

    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_RESOLUTION

    outcome: Annotated[bool, Meta(description="true for YES or false for NO")]
    """The outcome to propose."""
    evidence: Annotated[EvidenceText | None, Meta(description="a text of 1 to 10000 characters")] = None
    """What shows that this is the outcome; everybody can read it."""
    sources: Sources = ()
    """Where that can be looked up, beside the text or instead of it."""
    evidence_cid: Annotated[
        ContentId | None, Meta(description="an IPFS content id of version 0: Qm and 44 base58 characters")
    ] = None
    """The evidence as a document that is kept elsewhere, instead of `evidence` and `sources`."""
    early: Annotated[bool, Meta(description="true or false")] = False
    """Whether the outcome is proposed before the market's expected end; then `early_reason` is needed."""
    early_reason: Annotated[
        EarlyReason | None, Meta(description="a text of 10 to 2000 characters, shown to everybody")
    ] = None
    """Why the outcome is known before the expected end."""


class DisputeEvidenceRequest(Struct, frozen=True, kw_only=True):
    """Evidence against the proposed outcome: a text, or links, or both, as one document."""

    evidence: Annotated[EvidenceText | None, Meta(description="a text of 1 to 10000 characters")] = None
    """What shows that the proposed outcome is wrong; everybody can read it."""
    sources: Sources = ()
    """Where that can be looked up, beside the text or instead of it."""


class HandedIn(Struct, frozen=True):
    """Evidence that is kept here."""

    market_id: MarketKey
    evidence_cid: str
    """The content id of the document."""
    evidence_url: str
    """The path of the document."""


class ActionBody(UnsignedTransaction, frozen=True, kw_only=True):
    """A transaction that acts on this market."""

    market_id: MarketKey


class ResolveBody(ActionBody, frozen=True, kw_only=True):
    """A transaction that proposes an outcome."""

    evidence_cid: str
    """The content id of the evidence, which the transaction puts on the chain."""
    evidence_url: str | None
    """The path of the document; null where it is not kept here."""


async def activate(call: Call[None]) -> ActionBody:
    """For the market's creator or the admin."""
    return await _action(
        call,
        await _market(call),
        Action.ACTIVATE,
        lambda program, wallet, market: program.activate_market(authority=wallet, market=market),
    )


async def resolve(call: Call[ResolveRequest]) -> ResolveBody:
    """For the market's creator or a trusted resolver, who before the expected end has to say why."""
    body, wallet = call.input, call.session.wallet
    market = await _market(call)
    if not is_trusted_resolver(wallet, market.creator_wallet, call.app[keys.VOTING].trusted_resolvers):
        raise NotTheCreator(market.id, market.creator_wallet)
    _require_both_or_neither(body)
    early_reason = body.early_reason
    cid, document = _resolution_evidence(body, market.id, wallet, early_reason)
    if market.state is MarketState.ACTIVE:
        await _require_right_time(call, market)
    action = await _action(
        call,
        market,
        Action.RESOLVE,
        lambda program, resolver, address: program.resolve_market(
            resolver=resolver, market=address, proposed_outcome=body.outcome, ipfs_evidence_hash=cid
        ),
    )
    if market.state is not MarketState.ACTIVE:  # it is, says the program: the index is behind
        await _require_right_time(call, market)
    if document is not None or early_reason is not None:
        async with call.app[keys.DATABASE].service() as connection:
            await evidence.hand_in(
                connection,
                market.id,
                wallet,
                "resolution",
                cid=cid,
                document=document,
                early_reason=early_reason,
            )
            await evidence.purge(connection, market.id, wallet, "resolution")
    return ResolveBody(
        **msgspec.structs.asdict(action),
        evidence_cid=cid,
        evidence_url=None if document is None else document_path(cid),
    )


async def dispute(call: Call[None]) -> ActionBody:
    """For any wallet. Once it is disputed, POST /api/markets/{id}/dispute/evidence takes the reasons."""
    return await _action(
        call,
        await _market(call),
        Action.DISPUTE,
        lambda program, wallet, market: program.initiate_dispute(initiator=wallet, market=market),
    )


async def hand_in_dispute_evidence(call: Call[DisputeEvidenceRequest]) -> HandedIn:
    """For the wallet that disputed the outcome. What it hands in later replaces what it handed in before."""
    body, market = call.input, await _market(call)
    if body.evidence is None and not body.sources:
        raise InvalidRequest(Problem("evidence", "or sources is required"))
    texts = EvidenceTexts(
        market_id=market.id,
        wallet=call.session.wallet,
        kind="dispute",
        text=body.evidence or "",
        sources=body.sources,
    )
    database, publisher, cid = call.app[keys.DATABASE], call.app[keys.PUBLISHER], texts.cid()
    answer = HandedIn(market.id, cid, document_path(cid))
    async with database.caller(call.caller) as connection:
        before = (await evidence.shown(connection, market.id)).get("dispute")
        await evidence.hand_in(
            connection, market.id, texts.wallet, "dispute", cid=cid, document=texts.document()
        )
        await connection.execute(ACT_AS_SERVICE)
        await call.keep_answer(connection, answer)
        if before is not None and before.cid == cid:
            return answer
        await evidence.purge(connection, market.id, texts.wallet, "dispute")
        # Kept answers must not be without what was handed in.
        message = state_message(await markets.get_unchanging(connection, market.id))
        told = replace(message, data=replace(message.data, dispute_evidence_cid=cid))
        messages = await publisher.append(connection, [told])
    await publisher.publish(messages)
    return answer


def _require_both_or_neither(body: ResolveRequest) -> None:
    """Raises InvalidRequest where one of early and early_reason is given without the other."""
    if body.early and body.early_reason is None:
        raise InvalidRequest(Problem("early_reason", "is required where early is true"))
    if body.early_reason is not None and not body.early:
        raise InvalidRequest(Problem("early_reason", "goes with early, which has to be true then"))


async def _require_right_time(call: Call[ResolveRequest], market: MarketRow) -> None:
    """Raises TooEarly before the market's expected end where early is false, InvalidRequest after it where it
    is true.
    """
    body = call.input
    is_early = bool(await before_their_end(call, [market]))
    if is_early and not body.early:
        raise await too_early(call, market)
    if body.early and not is_early:
        end = iso_time_or_none(market.end_date)
        why = "this market has no expected end" if end is None else f"this market's expected end was {end}"
        raise InvalidRequest(Problem("early", f"must be left out, and so must early_reason: {why}"))


async def before_their_end(call: Call[Any], markets: Sequence[MarketRow]) -> list[MarketRow]:
    """Those of `markets` whose expected end is still to come, by the chain's clock.

    Asks the node, where one of them has an end: not while a database connection is held.
    """
    ends = [(market, market.end_date.timestamp()) for market in markets if market.end_date is not None]
    if not ends:
        return []
    now = (await call.app[keys.RPC].chain_time()).unix_timestamp
    return [market for market, end in ends if now < end]


def _resolution_evidence(
    body: ResolveRequest, market_id: str, wallet: str, early_reason: str | None
) -> tuple[str, bytes | None]:
    """The content id and, unless it is kept elsewhere, the document. Raises InvalidRequest."""
    is_written = body.evidence is not None or bool(body.sources)
    if is_written == (body.evidence_cid is not None):
        rule = "or sources is required, or else evidence_cid, and not both"
        raise InvalidRequest(Problem("evidence", rule))
    if body.evidence_cid is not None:
        return body.evidence_cid, None
    texts = EvidenceTexts(
        market_id=market_id,
        wallet=wallet,
        kind="resolution",
        outcome=body.outcome,
        text=body.evidence or "",
        sources=body.sources,
        early_reason=early_reason,
    )
    return texts.cid(), texts.document()


async def claim(call: Call[None]) -> ActionBody:
    """For a winner of a finalized market, or a holder where it has no outcome. It pays `simulated.pays`."""
    market = await _market(call)
    live = await read_live_market(call.app[keys.RPC], call.app[keys.PROGRAM], market.on_chain_address)
    return await _action(
        call,
        market,
        Action.CLAIM,
        lambda program, wallet, address: program.claim_winnings(
            user=wallet, market=address, resolver=live.account.resolver
        ),
    )


async def withdraw(call: Call[None]) -> ActionBody:
    """For the market's creator. It pays what nobody else is owed, `simulated.pays`."""
    market = await _market(call)
    try:
        return await _action(
            call,
            market,
            Action.WITHDRAW,
            lambda program, wallet, address: program.withdraw_liquidity(creator=wallet, market=address),
        )
    except ProgramRefused as error:
        if error.failure.name != "InsufficientLiquidity":
            raise
        failure = replace(error.failure, message=_WITHDRAWN if market.is_withdrawn else _NOTHING_TO_WITHDRAW)
        raise ProgramRefused(failure) from error


async def cancel(call: Call[None]) -> ActionBody:
    """For the admin."""
    return await _action(
        call,
        await _market(call),
        Action.CANCEL,
        lambda program, wallet, market: program.cancel_market(admin=wallet, market=market),
    )


async def _market(call: Call[Any]) -> MarketRow:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        return await chain_market(connection, call.path["id"])


async def _action(
    call: Call[Any],
    market: MarketRow,
    action: Action,
    build: Callable[[Program, Pubkey, Pubkey], Instruction],
) -> ActionBody:
    """The transaction of the instruction that `build` gives for the program, the wallet and the market."""
    wallet = call.session.wallet
    instruction = build(
        call.app[keys.PROGRAM],
        Pubkey.from_string(wallet),
        Pubkey.from_string(market.on_chain_address),
    )
    async with explaining_state(call, market.id, action):
        try:
            unsigned = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
        except ProgramRefused as error:
            if error.failure.name == "Unauthorized":
                await _explain_who_may(call, market, action)
            raise
    return ActionBody(**msgspec.structs.asdict(unsigned), market_id=market.id)


async def _explain_who_may(call: Call[Any], market: MarketRow, action: Action) -> None:
    """Raises NotTheCreator or NotTheAdmin where only these may take the action."""
    if action is Action.CANCEL:
        await call.app[keys.ADMINS].require(call.session.wallet, "may cancel a market")
    elif action in _CREATOR_MAY:
        raise NotTheCreator(market.id, market.creator_wallet, _CREATOR_MAY[action])


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/markets/{id}/activate",
        handler=activate,
        name="activate_market",
        summary="Open an approved market for trading",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotTheCreator, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/resolve",
        handler=resolve,
        name="resolve_market",
        summary="Propose a market's outcome",
        tag="markets",
        body=ResolveRequest,
        responses={200: ResolveBody},
        errors=(MarketNotFound, MarketPending, NotTheCreator, TooEarly, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute",
        handler=dispute,
        name="dispute_outcome",
        summary="Dispute a proposed outcome",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute/evidence",
        handler=hand_in_dispute_evidence,
        summary="Hand in evidence against a disputed outcome",
        tag="markets",
        body=DisputeEvidenceRequest,
        responses={201: HandedIn},
        errors=(MarketNotFound, MarketPending, NotTheDisputer),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/claim",
        handler=claim,
        name="claim_winnings",
        summary="Claim winnings or a refund",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/withdraw",
        handler=withdraw,
        name="withdraw_liquidity",
        summary="Withdraw the creator's liquidity",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotTheCreator, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/cancel",
        handler=cancel,
        name="cancel_market",
        summary="Cancel a market",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotTheAdmin, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)
