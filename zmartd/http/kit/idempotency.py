"""Writes that are sent again because nobody knows whether they arrived, answered as they were the first time.

A client gives a write a key of its own. The key is taken before the handler runs, and with the answer it is
settled for a day: the same request gets the same answer, another one is refused. What was not tried, because
it was malformed, came too often, without proof of a wallet, or at a time when something was out of order, is
not kept, so that it can be sent again. When a daemon dies in between, the key is free again after a minute;
the request then runs anew, and every write of the API is by itself one that does nothing twice.

A key belongs to a wallet and to the kind of credential that proved it: what was answered to a session is
never given to a header that anybody can repeat. An answer is only given again where the credential suffices
for the operation.

Sessions have no part in this: what is answered there is secret, and is never written down.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from zmartd.http.errors.requests import IdempotencyConflict, InvalidRequest, Problem, StillUnderWay
from zmartd.http.kit import keys
from zmartd.http.kit.error_responses import answer_to
from zmartd.http.kit.identity import Identity
from zmartd.log import get_logger
from zmartd.store import idempotency
from zmartd.store.idempotency import ClaimedKey, KeptAnswer
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_LENGTH = 255
MAX_KEPT_BYTES = 32_768
"""A larger answer is not kept: the request runs anew, and every write of the API does nothing twice."""

Answer = Callable[[], Awaitable[web.StreamResponse]]

_SANE = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}")
_NOT_TRIED = frozenset({400, 401, 413, 415, 429})

log = get_logger(__name__)


async def answered_once(
    request: web.Request, identity: Identity, key: str, body: bytes, answer: Answer
) -> web.StreamResponse:
    """What `answer` gives the first time that the caller sends `request` with this key, and that again later.

    Raises InvalidRequest, IdempotencyConflict, StillUnderWay, DatabaseUnavailable, DatabaseTimeout.
    """
    if not _SANE.fullmatch(key):
        raise InvalidRequest(Problem(HEADER, f"must be 1 to {MAX_LENGTH} visible ASCII characters"))
    subject = f"{identity.credential.value}:{identity.caller.wallet}"
    claimed = ClaimedKey(subject, key, _hash(request, body))
    async with request.app[keys.DATABASE].service() as connection:
        earlier = await idempotency.claim(connection, claimed)
    if earlier is not None:
        return _again(claimed, earlier)
    return await _first_time(request, claimed, answer)


async def _first_time(request: web.Request, claimed: ClaimedKey, answer: Answer) -> web.StreamResponse:
    # When this is cancelled nobody here knows what was done: the key stays taken until its time is over.
    try:
        response = await answer()
    except Exception as error:
        response = answer_to(request, error)  # what is kept is an answer, whatever it says
    body = response.body if isinstance(response, web.Response) else None
    try:
        async with request.app[keys.DATABASE].service() as connection:
            if isinstance(body, bytes) and _is_worth_keeping(response.status, body):
                location = response.headers.get(hdrs.LOCATION)
                await idempotency.keep(connection, claimed, response.status, body, location)
            else:
                await idempotency.release(connection, claimed)
    except (DatabaseUnavailable, DatabaseTimeout) as error:
        # What was done is done, and whoever asked is told so.
        log.warning("idempotency.not_kept", path=request.path, reason=error.message)
    return response


def _is_worth_keeping(status: int, body: bytes) -> bool:
    return status < 500 and status not in _NOT_TRIED and len(body) <= MAX_KEPT_BYTES


def _again(claimed: ClaimedKey, earlier: KeptAnswer) -> web.Response:
    """Raises IdempotencyConflict, StillUnderWay."""
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
    """What makes a request the same one: method, path with its query, and body."""
    said = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode())
    said.update(body)
    return said.digest()
