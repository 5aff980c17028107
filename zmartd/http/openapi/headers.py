"""The headers of responses, besides those that every HTTP response has."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, get_origin

from zmartd.http.kit.operation import MACHINES_TAG, STREAM_POSITION, Operation
from zmartd.http.kit.pagination import Cursor
from zmartd.http.openapi.schemas import Json

COMPONENTS: Json = {
    "X-Request-Id": {
        "description": "the id under which the daemon logged this request",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds to wait before trying again",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "how to sign in", "required": True, "schema": {"type": "string"}},
    "Location": {
        "description": "the path that returns the outcome",
        "required": True,
        "schema": {"type": "string"},
    },
    "Upgrade": {"description": "what to upgrade to", "required": True, "schema": {"type": "string"}},
    "RateLimit-Limit": {
        "description": "the limit of the window with the fewest requests left; also as X-RateLimit-Limit",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Remaining": {
        "description": "the requests left in that window; also as X-RateLimit-Remaining",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Reset": {
        "description": "seconds until that window ends; also as X-RateLimit-Reset",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Policy": {
        "description": "the limits that this request counts towards, each as "
        '`requests;w=seconds;comment="which requests"`; an answer from memory counts a tenth of a request',
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true`: this is the stored response to an earlier request with this Idempotency-Key",
        "schema": {"const": "true"},
    },
    "ETag": {
        "description": "the entity tag: send it as If-None-Match to get 304 while the response is unchanged",
        "schema": {"type": "string"},
    },
    STREAM_POSITION: {
        "description": "how far the market's stream had come in the same read, `epoch:seq`; absent while the "
        "market is not on the chain",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}:[0-9]+$"},
    },
    "Link": {
        "description": 'the next page of the array, in the form of RFC 8288: `<?...>; rel="next"`, relative '
        "to the path of the request; absent on the last page",
        "schema": {"type": "string"},
    },
    "X-Next-Cursor": {
        "description": "the `cursor` of the next page of an array or an export; absent on the last page",
        "schema": Cursor.schema,
    },
}

_BY_STATUS = {
    202: ("Location",),
    401: ("WWW-Authenticate",),
    426: ("Upgrade",),
    429: ("Retry-After",),
}


def of(operation: Operation[Any], status: int) -> Json:
    """The headers of the response to `operation` with `status`."""
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return {}
    names = ["X-Request-Id", *_BY_STATUS.get(status, ())]
    if operation.tag != MACHINES_TAG:
        names += ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
    if status == 503 and status not in operation.responses:
        names.append("Retry-After")
    if operation.takes_idempotency_key and operation.keeps_answer:
        names.append("Idempotency-Replayed")
    if 304 in operation.responses and status in {200, 304}:
        names.append("ETag")
    if operation.shows_market and status in {200, 304}:
        names.append(STREAM_POSITION)
    if status == HTTPStatus.OK and (operation.export is not None or _is_paged_array(operation)):
        names += ("Link", "X-Next-Cursor")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _is_paged_array(operation: Operation[Any]) -> bool:
    """Whether the response is a page as a bare array, whose cursor is in headers."""
    is_array = get_origin(operation.responses[HTTPStatus.OK]) is tuple
    return is_array and operation.query is not None and "cursor" in operation.query.__struct_fields__
