"""Idempotency keys: a write that is sent again gets the response of the first time.

A client chooses a key for each write. The key is claimed before the handler runs, and the response is stored
under it for a day: the same request gets the same response, a different one is refused. A 5xx is not stored,
nor the response to a request that was malformed, unauthenticated or rate-limited, so that the client can try
again. If a daemon dies in between, the key is free again after a minute. The request then runs again, which
is safe: every write of the API is idempotent by itself.

A key belongs to a wallet and to the kind of its credential, so that a replayed legacy header never gets the
response to a session. A stored response is only returned to a caller who may call the operation.

Operations on sessions take no keys: their responses are secret and are never stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from zmartd.http.errors.requests import IdempotencyConflict, InvalidRequest, Problem, StillUnderWay
from zmartd.http.kit import keys
from zmartd.http.kit.error_responses import response_to
from zmartd.http.kit.identity import Identity
from zmartd.log import get_logger
from zmartd.store import idempotency
from zmartd.store.idempotency import ClaimedKey, KeptAnswer
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_LENGTH = 255
MAX_STORED_BYTES = 32_768
"""A larger response is not stored: the request runs again, which is safe."""

Respond = Callable[[], Awaitable[web.StreamResponse]]

_VALID_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}")
_NOT_STORED = frozenset({400, 401, 413, 415, 429})

log = get_logger(__name__)


async def respond_once(
    request: web.Request, identity: Identity, key: str, body: bytes, respond: Respond
) -> web.StreamResponse:
    """The response of `respond`, or the stored one if the caller has sent `request` with this key before.

    Raises InvalidRequest, IdempotencyConflict, StillUnderWay, DatabaseUnavailable, DatabaseTimeout.
    """
    if not _VALID_KEY.fullmatch(key):
        raise InvalidRequest(Problem(HEADER, f"must be 1 to {MAX_LENGTH} visible ASCII characters"))
    subject = f"{identity.credential.value}:{identity.caller.wallet}"
    claimed = ClaimedKey(subject, key, _hash(request, body))
    async with request.app[keys.DATABASE].service() as connection:
        earlier = await idempotency.claim(connection, claimed)
    if earlier is not None:
        return _replay(claimed, earlier)
    return await _run(request, claimed, respond)


async def _run(request: web.Request, claimed: ClaimedKey, respond: Respond) -> web.StreamResponse:
    # If this is cancelled, the outcome is unknown: the key stays claimed until the claim expires.
    try:
        response = await respond()
    except Exception as error:
        response = response_to(request, error)  # a 4xx is stored as well
    body = response.body if isinstance(response, web.Response) else None
    try:
        async with request.app[keys.DATABASE].service() as connection:
            if isinstance(body, bytes) and _is_storable(response.status, body):
                location = response.headers.get(hdrs.LOCATION)
                await idempotency.keep(connection, claimed, response.status, body, location)
            else:
                await idempotency.release(connection, claimed)
    except (DatabaseUnavailable, DatabaseTimeout) as error:
        # The write has been done, so the caller gets its response.
        log.warning("idempotency.not_kept", path=request.path, reason=error.message)
    return response


def _is_storable(status: int, body: bytes) -> bool:
    return status < 500 and status not in _NOT_STORED and len(body) <= MAX_STORED_BYTES


def _replay(claimed: ClaimedKey, earlier: KeptAnswer) -> web.Response:
    """The stored response. Raises IdempotencyConflict, StillUnderWay."""
    if earlier.request_hash != claimed.request_hash:
        raise IdempotencyConflict
    if earlier.status is None:
        raise StillUnderWay
    response = web.Response(
        body=earlier.body, status=earlier.status, content_type="application/json", headers={REPLAYED: "true"}
    )
    if earlier.location is not None:
        response.headers[hdrs.LOCATION] = earlier.location
    return response


def _hash(request: web.Request, body: bytes) -> bytes:
    """A hash of the method, the path with its query, and the body."""
    digest = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode())
    digest.update(body)
    return digest.digest()
