"""The headers that answers carry besides those of any HTTP answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, get_origin

from zmartd.http.kit.operation import MACHINES_TAG, Operation
from zmartd.http.kit.pagination import Cursor
from zmartd.http.openapi.schemas import Json

COMPONENTS: Json = {
    "X-Request-Id": {
        "description": "the name under which the daemon logged this request",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds after which to try again",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "how to sign in", "required": True, "schema": {"type": "string"}},
    "Location": {
        "description": "where to ask for the end of it",
        "required": True,
        "schema": {"type": "string"},
    },
    "Upgrade": {"description": "what to upgrade to", "required": True, "schema": {"type": "string"}},
    "RateLimit-Limit": {
        "description": "requests in the window that the caller has least left of; also as X-RateLimit-Limit",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Remaining": {
        "description": "requests that are left of it; also as X-RateLimit-Remaining",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Reset": {
        "description": "seconds until the next window; also as X-RateLimit-Reset",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit-Policy": {
        "description": "all windows of the caller, each as requests;w=seconds",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true`: the answer that an earlier request with this Idempotency-Key got",
        "schema": {"const": "true"},
    },
    "ETag": {
        "description": "names this answer: send it as If-None-Match, to be told whether it has changed",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'the next page of the array, as RFC 8288 writes it: `<?...>; rel="next"`, relative to '
        "the path that was asked for; absent where the array ends",
        "schema": {"type": "string"},
    },
    "X-Next-Cursor": {
        "description": "the `cursor` of the array's next page; absent where it ends",
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
    """The headers of an answer with `status`."""
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return {}
    names = ["X-Request-Id", *_BY_STATUS.get(status, ())]
    if operation.tag != MACHINES_TAG:
        names += ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
    if status == 503 and status not in operation.answers:
        names.append("Retry-After")
    if operation.takes_idempotency_key:
        names.append("Idempotency-Replayed")
    if 304 in operation.answers and status in {200, 304}:
        names.append("ETag")
    if status == HTTPStatus.OK and _is_paged_array(operation):
        names += ("Link", "X-Next-Cursor")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _is_paged_array(operation: Operation[Any]) -> bool:
    """Whether the answer is an array, without an object around it that could say where the next page is."""
    is_array = get_origin(operation.answers[HTTPStatus.OK]) is tuple
    return is_array and operation.query is not None and "cursor" in operation.query.__struct_fields__
