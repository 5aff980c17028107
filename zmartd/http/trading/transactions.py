"""Relaying what wallets signed, and telling what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import hdrs, web
from msgspec import Meta, Struct

from zmartd.chain.events import ProgramEvent
from zmartd.chain.sender import SenderUnavailable, TransactionExpired
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.auth.identity import caller_of, require_session
from zmartd.http.errors.requests import (
    InvalidRequest,
    MarketPending,
    NotTheCreator,
    Problem,
    ProgramRefused,
    TransactionRefused,
)
from zmartd.http.kit import keys
from zmartd.http.kit.codec import decode_body, json_response
from zmartd.http.kit.fields import Time
from zmartd.http.kit.operation import Access, Operation
from zmartd.http.markets.reading import chain_market
from zmartd.http.trading.lookups import LookupsExhausted
from zmartd.indexer.fetch import TransactionNotFound
from zmartd.indexer.payloads import event_of, payload
from zmartd.indexer.rows import moment
from zmartd.market.decisions import is_trusted_resolver
from zmartd.market.ids import base58_decode, masked
from zmartd.market.iso_time import iso_time
from zmartd.store import commitments, told
from zmartd.store.commitments import Commitment
from zmartd.store.markets import MarketNotFound
from zmartd.store.outbox import TooManyPending
from zmartd.store.rls import Caller
from zmartd.store.told import Told

_SIGNATURE_BYTES = 64
_WHOSE = ("user", "from", "to")
"""Fields of events that say who traded or voted."""


class RelayRequest(Struct, frozen=True):
    transaction: Annotated[
        str, Meta(min_length=1, description="the base64 of a signed transaction of at most 1232 bytes")
    ]


class Confirmed(Struct, frozen=True, kw_only=True):
    """A transaction that succeeded. Each event is its name and its fields as the program emitted them:
    addresses in base58, bytes in hexadecimal, 64-bit integers as decimal strings. Who has not signed in
    sees the wallets of traders and voters shortened.
    """

    signature: str
    """The transaction's signature, base58."""
    status: Literal["confirmed"] = "confirmed"
    """As opposed to `submitted`: what it did is known."""
    commitment: Commitment
    """`finalized` once no fork can take it back any more; it is asked for again to see that."""
    slot: int
    """The slot that the transaction is in."""
    block_time: Time | None
    """When its block was made, by the chain's clock; null where the chain does not say."""
    events: tuple[dict[str, Any], ...]
    """The program's events in the transaction, in their order: each has `name` beside its own fields."""


class Submitted(Struct, frozen=True):
    """A transaction whose end is not known yet: repeat the request to ask again."""

    signature: str
    """The transaction's signature, base58."""
    status: Literal["submitted"] = "submitted"
    """As opposed to `confirmed`: what became of it is not known."""


async def relay(request: web.Request) -> web.Response:
    """POST /api/transactions: 200 once it is confirmed and indexed, 202 when that takes longer."""
    body = await decode_body(request, RelayRequest)
    session = require_session(request)
    transaction = request.app[keys.RELAY].admit(body.transaction, session.wallet)
    await _require_resolver(request, session.wallet, transaction.resolves)
    outcome = await request.app[keys.SUBMISSIONS].submit(transaction)
    return await _answer(request, transaction.signature, outcome)


async def _require_resolver(request: web.Request, wallet: str, resolves: Sequence[str]) -> None:
    """The program lets any wallet propose an outcome, the relay only those whose resolution counts.

    Raises NotTheCreator, MarketNotFound, MarketPending.
    """
    if not resolves:
        return
    trusted = request.app[keys.VOTING].trusted_resolvers
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        for address in resolves:
            market = await chain_market(connection, address)
            if not is_trusted_resolver(wallet, market.creator_wallet, trusted):
                raise NotTheCreator(market_id=market.id)


async def get_transaction(request: web.Request) -> web.Response:
    """GET /api/transactions/{signature}, whoever sent it: the same answers as for relaying it."""
    signature = request.match_info["signature"]
    if not _is_signature(signature):
        raise InvalidRequest(Problem("signature", "must be a transaction's signature, base58 of 64 bytes"))
    async with request.app[keys.DATABASE].service() as connection:
        known = await told.transaction(connection, signature)
        is_indexed = known is not None or await commitments.is_known(connection, signature)
    if known is not None:
        return json_response(_as_told(signature, known, caller_of(request)))
    submissions = request.app[keys.SUBMISSIONS]
    find = submissions.read if is_indexed else submissions.look_up
    return await _answer(request, signature, await find(signature))


def _as_told(signature: str, known: Told, caller: Caller) -> Confirmed:
    """What the lists of the API have already is answered from the index: the node is not asked."""
    return Confirmed(
        signature=signature,
        commitment=known.commitment,
        slot=known.slot,
        block_time=None if known.block_time is None else iso_time(known.block_time),
        events=tuple(_event(event_of(each.event_type, each.payload), caller) for each in known.events),
    )


async def _answer(request: web.Request, signature: str, outcome: ChainTransaction | None) -> web.Response:
    if outcome is None:
        response = json_response(Submitted(signature), 202)
        response.headers[hdrs.LOCATION] = f"/api/transactions/{signature}"
        return response
    return json_response(
        Confirmed(
            signature=signature,
            commitment=await _commitment(request, outcome),
            slot=outcome.slot,
            block_time=None if outcome.block_time is None else iso_time(moment(outcome.block_time)),
            events=tuple(_event(record.event, caller_of(request)) for record in outcome.events),
        )
    )


def _event(event: ProgramEvent, caller: Caller) -> dict[str, Any]:
    fields = payload(event)
    if caller.wallet is None:
        fields |= {name: masked(fields[name]) for name in _WHOSE if name in fields}
    return {"name": type(event).__name__, **fields}


async def _commitment(request: web.Request, transaction: ChainTransaction) -> Commitment:
    """As the index has it, or the chain where the transaction did nothing that the index keeps."""
    signature, slot = transaction.signature, transaction.slot
    async with request.app[keys.DATABASE].service() as connection:
        known = await commitments.of_transaction(connection, signature, slot)
    if known is not None:
        return known
    statuses = await request.app[keys.RPC].signature_statuses([signature], search_history=True)
    status = statuses.by_signature[signature]
    is_final = status is not None and status.slot == slot and status.confirmation_status == "finalized"
    return "finalized" if is_final else "confirmed"


def _is_signature(text: str) -> bool:
    if len(text) > 88:
        return False
    try:
        return len(base58_decode(text)) == _SIGNATURE_BYTES
    except ValueError:
        return False


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/transactions",
        handler=relay,
        summary="Send a signed transaction",
        tag="transactions",
        body=RelayRequest,
        answers={200: Confirmed, 202: Submitted},
        errors=(
            TransactionRefused,
            NotTheCreator,
            MarketNotFound,
            MarketPending,
            TransactionExpired,
            ProgramRefused,
            RpcUnavailable,
            RpcRejected,
            SenderUnavailable,
            LookupsExhausted,
            TooManyPending,
        ),
        access=Access.SESSION,
    ),
    Operation(
        method="GET",
        path="/api/transactions/{signature}",
        handler=get_transaction,
        summary="What became of a transaction",
        tag="transactions",
        answers={200: Confirmed, 202: Submitted},
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
