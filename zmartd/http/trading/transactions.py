"""Relaying transactions that wallets signed, and reporting their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from aiohttp import hdrs
from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.commitment import Commitment
from zmartd.chain.events import ProgramEvent
from zmartd.chain.failures import ProgramRefused
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.sender import SenderUnavailable
from zmartd.chain.signed_transactions import TransactionExpired
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.errors.requests import MarketPending, NotTheCreator, TooEarly, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Time
from zmartd.http.kit.operation import Access, Call, JsonResponse, Operation
from zmartd.http.markets.actions import before_their_end
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.program_events import event_fields
from zmartd.http.markets.wrong_state import WRONG_STATE, explained, too_early
from zmartd.http.trading.moved_prices import read_limits, with_fresh_quote
from zmartd.indexer.events.payloads import event_from_payload, payload
from zmartd.indexer.fetch import TransactionDetails, TransactionNotFound
from zmartd.market.decisions import is_trusted_resolver
from zmartd.market.ids import masked
from zmartd.market.iso_time import iso_time, utc_from_unix
from zmartd.market.next_steps import Action
from zmartd.store import evidence, indexed_transactions, markets, metadata
from zmartd.store.indexed_transactions import IndexedTransaction
from zmartd.store.markets import MarketNotFound
from zmartd.store.outbox import TooManyPending
from zmartd.store.postgres.rls import Caller
from zmartd.transactions.admission import AdmittedTransaction, MarketAct, RefusalDetails, TransactionRefused
from zmartd.transactions.funds import InsufficientFunds
from zmartd.transactions.lookup_limit import LookupsExhausted
from zmartd.transactions.price_protection import MAX_LENGTH, PriceMoved
from zmartd.transactions.relay import TransactionRetracted

_PUBLIC_ADDRESSES = frozenset(
    {
        *("market", "creator", "resolver", "initiator"),
        *("approved_by", "cancelled_by", "paused_by", "admin", "backend_authority"),
    }
)
"""Fields of events whose addresses anybody sees. All others say who traded or voted."""

_ACTIONS: Final = {
    "submit_proposal_vote": Action.VOTE_ON_PROPOSAL,
    "approve_proposal": Action.APPROVE,
    "aggregate_proposal_votes": Action.APPROVE,
    "cancel_market": Action.CANCEL,
    "activate_market": Action.ACTIVATE,
    "buy_shares": Action.TRADE,
    "sell_shares": Action.TRADE,
    "resolve_market": Action.RESOLVE,
    "initiate_dispute": Action.DISPUTE,
    "submit_dispute_vote": Action.VOTE_ON_DISPUTE,
    "aggregate_dispute_votes": Action.FINALIZE,
    "finalize_market": Action.FINALIZE,
    "claim_winnings": Action.CLAIM,
    "withdraw_liquidity": Action.WITHDRAW,
}
"""What each instruction does to its market."""


ProgramEventFields = Annotated[
    dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/ProgramEvent"})
]
"""What `_event` makes of an event."""


class RelayRequest(Struct, frozen=True):
    transaction: Annotated[
        str, Meta(min_length=1, description="the base64 of a signed transaction of at most 1232 bytes")
    ]
    protection: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | None,
        Meta(
            description="the text that came with the quote of this transaction, unchanged; a purchase needs "
            "it, or min_shares"
        ),
    ] = None
    min_shares: Annotated[
        U64 | None,
        Meta(
            description="a whole number of share units that the purchases in this transaction have to bring "
            "together, where it has no protection; 0 for no limit"
        ),
    ] = None


class Confirmed(Struct, frozen=True, kw_only=True):
    """A transaction that succeeded. Anonymous callers see the wallets of traders and voters shortened."""

    signature: str
    """The transaction's signature, base58."""
    status: Literal["confirmed"] = "confirmed"
    """Always `confirmed`, unlike `submitted`: the result is known."""
    commitment: Commitment
    """`finalized` once no fork can revert the transaction. Repeat the request to see the change."""
    slot: int
    """The slot of the transaction."""
    block_time: Time | None
    """The time of the block; null where the chain does not say."""
    events: tuple[ProgramEventFields, ...]
    """The program's events in the transaction, in order. Each has its `name` beside its own fields, under the
    program's names: addresses in base58, bytes in hexadecimal, amounts as decimal strings, times in unix
    seconds."""
    events_complete: bool
    """False while the transaction could not be read, or not to its end: it may have more events than these.
    What the chain's node does not show yet is read again by itself."""


class Submitted(Struct, frozen=True):
    """A transaction whose result is not known yet. Repeat the request to ask again."""

    signature: str
    """The transaction's signature, base58."""
    status: Literal["submitted"] = "submitted"
    """Always `submitted`, unlike `confirmed`: the result is not known."""


async def relay(call: Call[RelayRequest]) -> Confirmed | JsonResponse:
    """200 once the transaction is confirmed and indexed, 202 when that takes longer.

    The transaction is simulated on the newest state right before it is sent. A trade that would break a limit
    is not sent but answered with 409 `price_moved`. Its `details` have the limit, the present price, and
    `fresh`: a new quote of the same order with its transaction, in the form of POST /api/trades/buy or sell.
    `fresh` is null where the new quote would break a limit that the caller stated, and without `protection`.

    Nobody holds the price still between that simulation and the block. In that moment only the program keeps
    limits: the most that a purchase costs, and the least that a sale brings, but not the least shares of a
    purchase. A purchase with such a limit that has to be sent again is simulated again first.
    """
    body = call.input
    session = call.session
    transaction = call.app[keys.ADMISSION].admit(body.transaction, session.wallet)
    limits = read_limits(call, transaction, body.protection, body.min_shares)
    await _require_resolver(call, session.wallet, transaction.resolutions)
    await _require_registered_texts(call, session.wallet, transaction.creations)
    try:
        outcome = await call.app[keys.RELAY].submit(transaction, limits.min_shares)
    except PriceMoved as moved:
        raise await with_fresh_quote(call, transaction, limits, moved) from moved
    except ProgramRefused as error:
        act = _refused_act(transaction, error)
        if act is None:
            raise
        raise await explained(call, act.market, _ACTIONS[act.instruction], error) from error
    return await _answer(call, transaction.signature, outcome)


def _refused_act(transaction: AdmittedTransaction, error: ProgramRefused) -> MarketAct | None:
    """The instruction that was refused because of its market's state, if one was."""
    if error.failure.name not in WRONG_STATE:
        return None
    acts = [act for act in transaction.acts if act.instruction in _ACTIONS]
    refused = [act for act in acts if act.index == error.failure.instruction_index]
    return next(iter(refused or acts), None)


async def _require_resolver(call: Call[Any], wallet: str, resolutions: Sequence[MarketAct]) -> None:
    """The program lets any wallet propose an outcome, at any time. Only the creator's and trusted resolvers'
    are relayed, and before the expected end only where they have said why with this very evidence: the chain
    will name it, and the reason is shown with it.

    Raises NotTheCreator, TooEarly, MarketNotFound, MarketPending.
    """
    if not resolutions:
        return
    addresses = [act.market for act in resolutions]
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await markets.at_addresses(connection, addresses)
        missing = next((address for address in addresses if address not in found), None)
        if missing is not None:
            await chain_market(connection, missing)  # raises what tells why
        cids = {act.cid for act in resolutions if act.cid is not None}
        with_reason = await evidence.with_early_reason(connection, wallet, cids)
    trusted = call.app[keys.VOTING].trusted_resolvers
    for market in found.values():
        if not is_trusted_resolver(wallet, market.creator_wallet, trusted):
            raise NotTheCreator(market.id, market.creator_wallet)
    without = [act for act in resolutions if (found[act.market].id, act.cid) not in with_reason]
    for market in await before_their_end(call, [found[act.market] for act in without]):
        raise await too_early(
            call,
            market,
            "The expected end of this market has not come, and no reason is kept for the evidence in this "
            "transaction: none was given, or later requests have replaced it, of which only the newest "
            f"{evidence.KEPT} count. Repeat POST /api/markets/{market.id}/resolve with early and "
            "early_reason, and send the transaction of its answer.",
        )


async def _require_registered_texts(call: Call[Any], wallet: str, creations: Sequence[MarketAct]) -> None:
    """A creation of a market that the wallet has registered has to name the texts that it registered: nobody
    would see others. One of a market that it has not registered may name any.

    Raises TransactionRefused.
    """
    if not creations:
        return
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        registered = await metadata.registered_cids(connection, wallet, {act.market for act in creations})
    for act in creations:
        cid = registered.get(act.market)
        if cid is not None and act.cid != cid:
            raise TransactionRefused(
                f"The instruction at index {act.index} creates the market {act.market} with the content id "
                f"{act.cid}, but you have registered it with {cid}; sign the transaction of its "
                "registration as it is, or register another market.",
                RefusalDetails(instruction_index=act.index),
            )


async def get_transaction(call: Call[None]) -> Confirmed | JsonResponse:
    """The transaction may have been sent by anybody. The answers are those of relaying it."""
    signature = call.path["signature"]
    async with call.app[keys.DATABASE].service() as connection:
        known = await indexed_transactions.find(connection, signature)
        is_indexed = known is not None or await indexed_transactions.exists(connection, signature)
        lost_slot = None if is_indexed else await indexed_transactions.retracted_slot(connection, signature)
    if known is not None:
        return _as_told(signature, known, call.caller)
    relayed = call.app[keys.RELAY]
    if is_indexed or lost_slot is not None:
        outcome = await relayed.fetch_indexed(signature)
    else:
        outcome = await relayed.look_up(signature)
    if outcome is None and lost_slot is not None:
        raise TransactionRetracted(TransactionDetails(signature, lost_slot))
    return await _answer(call, signature, outcome)


def _as_told(signature: str, known: IndexedTransaction, caller: Caller) -> Confirmed:
    """What the lists of the API have already is answered from the index: the node is not asked."""
    return Confirmed(
        signature=signature,
        commitment=known.commitment,
        slot=known.slot,
        block_time=None if known.block_time is None else iso_time(known.block_time),
        events=tuple(
            _event(event_from_payload(each.event_type, each.payload), caller) for each in known.events
        ),
        events_complete=True,
    )


async def _answer(
    call: Call[Any], signature: str, outcome: ChainTransaction | None
) -> Confirmed | JsonResponse:
    if outcome is None:
        return JsonResponse(Submitted(signature), 202, {hdrs.LOCATION: f"/api/transactions/{signature}"})
    return Confirmed(
        signature=signature,
        commitment=await _commitment(call, outcome),
        slot=outcome.slot,
        block_time=None if outcome.block_time is None else iso_time(utc_from_unix(outcome.block_time)),
        events=tuple(_event(record.event, call.caller) for record in outcome.events),
        events_complete=not (outcome.logs_truncated or outcome.quarantined),
    )


def _event(event: ProgramEvent, caller: Caller) -> dict[str, Any]:
    fields = event_fields(payload(event))
    if caller.wallet is None:
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, Pubkey) and name not in _PUBLIC_ADDRESSES:
                fields[name.removesuffix("_")] = masked(str(value))
    return {"name": type(event).__name__, **fields}


async def _commitment(call: Call[Any], transaction: ChainTransaction) -> Commitment:
    """As the index has it, or the chain where the transaction did nothing that the index keeps."""
    signature, slot = transaction.signature, transaction.slot
    async with call.app[keys.DATABASE].service() as connection:
        known = await indexed_transactions.commitment(connection, signature, slot)
    if known is not None:
        return known
    statuses = await call.app[keys.RPC].signature_statuses([signature], search_history=True)
    status = statuses.by_signature[signature]
    is_final = status is not None and status.slot == slot and status.confirmation_status == "finalized"
    return "finalized" if is_final else "confirmed"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/transactions",
        handler=relay,
        name="send_transaction",
        summary="Send a signed transaction",
        tag="transactions",
        body=RelayRequest,
        responses={200: Confirmed, 202: Submitted},
        errors=(
            TransactionRefused,
            NotTheCreator,
            TooEarly,
            WrongState,
            MarketNotFound,
            MarketPending,
            TransactionExpired,
            PriceMoved,
            ProgramRefused,
            ProtocolNotInitialized,
            InsufficientFunds,
            RpcUnavailable,
            RpcRejected,
            SenderUnavailable,
            LookupsExhausted,
            TooManyPending,
        ),
        access=Access.SESSION,
        keeps_answer=False,
    ),
    Operation(
        method="GET",
        path="/api/transactions/{signature}",
        handler=get_transaction,
        summary="The result of a transaction",
        tag="transactions",
        access=Access.PUBLIC,
        responses={200: Confirmed, 202: Submitted},
        errors=(
            TransactionNotFound,
            LookupsExhausted,
            TransactionExpired,
            ProgramRefused,
            RpcUnavailable,
            RpcRejected,
            SenderUnavailable,
        ),
    ),
)
