"""One log line and one measurement for each request, under an id that every other line of it carries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Histogram

from zmartd.clock import Clock
from zmartd.log import CURRENT_REQUEST_ID, get_logger

REQUEST_ID = web.RequestKey("request_id", str)
HEADER = "X-Request-Id"

_SANE = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)

_duration_seconds = Histogram(
    "zmartd_http_request_duration_seconds",
    "Time from a request's headers to the end of its answer, by route template",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def access_log(
    clock: Clock,
    new_request_id: Callable[[], str] = lambda: secrets.token_hex(8),
    quiet: Collection[str] = (),
) -> Middleware:
    """The outermost middleware: whatever happens further in, this sees the answer.

    A caller's own `X-Request-Id` is kept when it is sane, so that a trace goes on through us. Successes on
    `quiet` routes, which machines call all the time, are measured as all are, but logged at level debug.
    """
    lines = log.bind()  # once, not for each line

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = clock.monotonic()
        given = request.headers.get(HEADER)
        request_id = given if given and _SANE.fullmatch(given) else new_request_id()
        request[REQUEST_ID] = request_id
        outer = CURRENT_REQUEST_ID.set(request_id)
        status = 0
        try:
            response = await handler(request)
            status = response.status
            if not response.prepared:
                response.headers[HEADER] = request_id
            return response
        finally:
            seconds = clock.monotonic() - started
            route = _template(request)
            if status != HTTPStatus.SWITCHING_PROTOCOLS:  # a WebSocket lasts as long as its client likes
                _duration_of(_method(request), route, status).observe(seconds)
            write = lines.debug if route in quiet and 200 <= status < 300 else lines.info
            write(
                "http.request",
                method=request.method,
                route=route,
                path=request.path,
                status=status,
                milliseconds=round(seconds * 1000, 2),
            )
            CURRENT_REQUEST_ID.reset(outer)

    return middleware


@lru_cache(maxsize=4_096)
def _duration_of(method: str, route: str, status: int) -> Histogram:
    """The histogram's child of these labels, without building its key for every request."""
    return _duration_seconds.labels(method, route, status)


def _template(request: web.Request) -> str:
    """The route as it is written in the table: a label with few values, whatever callers ask for."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else _UNMATCHED


def _method(request: web.Request) -> str:
    return request.method if request.method in _METHODS else "other"
