"""Idempotency keys: a write that is sent again gets the response of the first time.

A client chooses a key for each write. The key is claimed before the handler runs, and is that request's for a
day: a different one is refused. What cannot change is stored under it, the response to what was done, and the
same request gets it again. Everything else is made anew:

- Refusals, which may be of the moment: a market is pending, a price has moved, a node is away.
- A response with a transaction to sign, once the chain is above its `last_valid_block_height`. A trade is
  not: it may have landed, and a client that signs another would trade twice. Its key is used up.
- The responses of an operation that tells of something that goes on (`Operation.keeps_answer`).

A request that was malformed, unauthenticated or rate-limited was not tried: its key is free again, so that
the client can correct it.

Where the response tells of rows that the request has written, `HeldKey.keep` stores it in the transaction
that writes them (`Call.keep_answer`): if a daemon dies or its connection is cut, either both are there or
neither. A response without such rows is stored once it is made. A request without a response can be sent
again after a minute, and whoever is still at work on it writes nothing then.

A key belongs to a wallet and to the kind of its credential, so that a replayed legacy header never gets the
response to a session. A stored response is only returned to a caller who may call the operation.

Operations on sessions take no keys: their responses are secret and are never stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard

import msgspec
from aiohttp import hdrs, web
from asyncpg import Connection
from msgspec import Struct

from zmartd.http.errors.requests import (
    IdempotencyConflict,
    InvalidRequest,
    Problem,
    QuoteExpired,
    StillUnderWay,
)
from zmartd.http.kit import keys
from zmartd.http.kit.error_responses import response_to
from zmartd.http.kit.identity import Identity
from zmartd.http.kit.operation import Operation
from zmartd.log import get_logger
from zmartd.store import idempotency
from zmartd.store.idempotency import Claim, KeptAnswer, UsedKey
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_LENGTH = 255
MAX_STORED_BYTES = 32_768
"""A larger response is made anew, unless it tells of rows that its request has written: those fit."""

_VALID_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}")
_NOT_TRIED = frozenset({400, 401, 413, 415, 429})

log = get_logger(__name__)


class _Transaction(Struct):
    """Of the body of a response: until when the transaction in it can land."""

    last_valid_block_height: int | None = None


class HeldKey:
    """The key of a request that is being answered."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.has_kept = False
        """Whether the response is stored, once the transaction that wrote what it tells of is committed."""

    async def keep(self, connection: Connection, response: web.Response) -> None:
        """Store the response in the request's own transaction, which acts as the service.

        Raises StillUnderWay where the claim has been lost to a repetition of the request. That rolls back
        what the transaction has written.
        """
        body, location = _body(response), response.headers.get(hdrs.LOCATION)
        if not await idempotency.keep(connection, self.claim, response.status, body, location):
            raise StillUnderWay
        self.has_kept = True


Respond = Callable[[HeldKey], Awaitable[web.StreamResponse]]


class Write(Struct, frozen=True):
    """A request that carries an idempotency key."""

    operation: Operation[Any]
    request: web.Request
    identity: Identity
    body: bytes

    def hash(self) -> bytes:
        """A hash of the method, the path with its query, and the body."""
        digest = hashlib.sha256(f"{self.request.method} {self.request.path_qs}\n".encode())
        digest.update(self.body)
        return digest.digest()


async def respond_once(write: Write, key: str, respond: Respond) -> web.StreamResponse:
    """The response of `respond`, or the stored one if the caller has sent the same with this key before.

    Raises InvalidRequest, IdempotencyConflict, StillUnderWay, QuoteExpired, DatabaseUnavailable,
    DatabaseTimeout, and RpcUnavailable where the node has to say whether the transaction in a stored response
    can still land.
    """
    if not _VALID_KEY.fullmatch(key):
        raise InvalidRequest(Problem(HEADER, f"must be 1 to {MAX_LENGTH} visible ASCII characters"))
    app, identity = write.request.app, write.identity
    subject = f"{identity.credential.value}:{identity.caller.wallet}"
    used = UsedKey(subject, key, write.hash())
    async with app[keys.DATABASE].service() as connection:
        found = await idempotency.claim(connection, used)
    if isinstance(found, Claim):
        return await _run(write, HeldKey(found), respond)
    stored = _stored(used, found)
    if not await _is_void(write, stored):
        return stored
    if write.operation.is_repeatable:
        raise QuoteExpired
    async with app[keys.DATABASE].service() as connection:
        claim = await idempotency.claim_again(connection, used, _body(stored))
    if claim is None:
        raise StillUnderWay
    return await _run(write, HeldKey(claim), respond)


async def _is_void(write: Write, stored: web.Response) -> bool:
    """Whether the response has a transaction that cannot land any more. Raises RpcUnavailable."""
    if not write.operation.carries_transaction:
        return False
    last = msgspec.json.decode(_body(stored), type=_Transaction).last_valid_block_height
    return last is not None and await write.request.app[keys.RPC].block_height() > last


async def _run(write: Write, key: HeldKey, respond: Respond) -> web.StreamResponse:
    # If this is cancelled, the outcome is unknown: the key stays claimed until the claim expires.
    try:
        response = await respond(key)
    except Exception as error:
        response = response_to(write.request, error)
    is_success = 200 <= response.status < 300
    if is_success and key.has_kept:
        return response
    try:
        async with write.request.app[keys.DATABASE].service() as connection:
            if write.operation.keeps_answer and is_success and _is_storable(response):
                location = response.headers.get(hdrs.LOCATION)
                await idempotency.keep(connection, key.claim, response.status, _body(response), location)
            elif response.status in _NOT_TRIED:
                await idempotency.release(connection, key.claim)
            else:
                await idempotency.leave_open(connection, key.claim)
    except (DatabaseUnavailable, DatabaseTimeout) as error:
        # The write has been done, so the caller gets its response.
        log.warning("idempotency.not_kept", path=write.request.path, reason=error.message)
    return response


def _is_storable(response: web.StreamResponse) -> TypeGuard[web.Response]:
    return (
        isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) <= MAX_STORED_BYTES
    )


def _body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes), "a stored response has a body of bytes"
    return response.body


def _stored(used: UsedKey, earlier: KeptAnswer) -> web.Response:
    """The stored response. Raises IdempotencyConflict, StillUnderWay."""
    if earlier.request_hash != used.request_hash:
        raise IdempotencyConflict
    if earlier.status is None:
        raise StillUnderWay
    response = web.Response(
        body=earlier.body, status=earlier.status, content_type="application/json", headers={REPLAYED: "true"}
    )
    if earlier.location is not None:
        response.headers[hdrs.LOCATION] = earlier.location
    return response
