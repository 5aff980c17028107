"""One log line and one measurement for each request, and the request id that all its other lines carry."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import istr

from zmartd.clock import Clock
from zmartd.http.kit.log_rate_limit import LogRateLimit
from zmartd.http.middleware import unmatched
from zmartd.log import get_logger, write_lines
from zmartd.metrics import Histogram

REQUEST_ID = istr("X-Request-Id")
FLUSH_SECONDS = 0.05
MAX_BUFFERED_LINES = 512
MAX_PATH_LENGTH = 200
"""Characters of a path that are logged: more than any path of the API has."""

_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_UNMATCHED = "unmatched"
_API = "/api/"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)

_durations = Histogram(
    "zmartd_http_request_duration_seconds",
    "Time from a request's headers to the end of its answer, by route template.",
    ["method", "route", "status"],
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def api_answers() -> tuple[int, int]:
    """How many requests of the API this process has answered, and how many of them with a server error."""
    answers = errors = 0
    for (_, route, status), number in _durations.numbers().items():
        if route.startswith(_API):
            answers += number
            errors += number if status.startswith("5") else 0
    return answers, errors


def request_id_source() -> Callable[[], str]:
    """A function that returns a new request id: unique among processes, and rising within this one."""
    process, number = secrets.token_hex(6), count()
    return lambda: f"{process}-{next(number):08x}"


class FinishedRequest(Struct, frozen=True, gc=False):
    """A request that has ended, until its line is written. `at` is a unix time."""

    at: float
    request_id: str
    method: str
    route: str
    path: str
    status: int
    seconds: float


class AccessLogLine(Struct, frozen=True, kw_only=True):
    """The log line about a finished request."""

    action: str = "http.request"
    method: str
    route: str
    path: str
    status: int
    milliseconds: float
    level: str = "info"
    logger: str = __name__
    request_id: str
    timestamp: datetime


class AccessLog:
    """Logs and measures every request.

    A client's own `X-Request-Id` is kept if it is valid, so that a trace can be followed through the daemon.
    Successes on `quiet_routes`, which machines call all the time, are logged at level debug.

    Clients can cause 4xx responses and preflights without limit: no more of these are logged than a
    `LogRateLimit` allows, and no more of a path than MAX_PATH_LENGTH.

    Lines are buffered and written together, because writing each one costs as much as a cached response. A
    daemon that is killed loses the lines of its last FLUSH_SECONDS.
    """

    def __init__(
        self,
        clock: Clock,
        new_request_id: Callable[[], str] | None = None,
        quiet_routes: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._new_request_id = new_request_id or request_id_source()
        self._quiet_routes = quiet_routes
        self._buffer: list[FinishedRequest] = []
        self._refusals = LogRateLimit(clock)

    def request_id_for(self, headers: Mapping[str, str]) -> str:
        """The id of the request with these headers. The caller sets CURRENT_REQUEST_ID to it."""
        given = headers.get(REQUEST_ID)
        return given if given and _VALID_REQUEST_ID.fullmatch(given) else self._new_request_id()

    def record(self, request: web.Request, request_id: str, status: int, seconds: float) -> None:
        """Log and measure a request that has ended. `status` is 0 where the client was gone."""
        method, route = request.method, _route_template(request)
        if status != HTTPStatus.SWITCHING_PROTOCOLS:  # a WebSocket lasts as long as its client likes
            _durations.labels(method if method in _METHODS else "other", route, str(status)).observe(seconds)
        if route in self._quiet_routes and 200 <= status < 300:
            log.debug("http.request", method=method, route=route, path=request.path, status=status)
            return
        if 400 <= status < 500 or method == hdrs.METH_OPTIONS:
            if not self._refusals.allow():
                return
            if suppressed := self._refusals.take_suppressed():
                log.warning("http.requests_not_logged", requests=suppressed)
        if not self._buffer:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        at = self._clock.time()
        path = request.path[:MAX_PATH_LENGTH]
        self._buffer.append(FinishedRequest(at, request_id, method, route, path, status, seconds))
        if len(self._buffer) >= MAX_BUFFERED_LINES:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines."""
        finished, self._buffer = self._buffer, []
        if finished:
            write_lines(__name__, [_line(request) for request in finished])

    async def close(self, _app: web.Application) -> None:
        """Write the buffered lines; an `on_cleanup` signal."""
        self.flush()


def _line(request: FinishedRequest) -> AccessLogLine:
    return AccessLogLine(
        method=request.method,
        route=request.route,
        path=request.path,
        status=request.status,
        milliseconds=int(request.seconds * 100_000) / 100,
        request_id=request.request_id,
        timestamp=datetime.fromtimestamp(request.at, UTC),
    )


def _route_template(request: web.Request) -> str:
    """The route with its variables unfilled: a label with few values, whatever clients ask for."""
    resource = request.match_info.route.resource
    if resource is None or resource.canonical == unmatched.PATH:
        return _UNMATCHED
    return resource.canonical
