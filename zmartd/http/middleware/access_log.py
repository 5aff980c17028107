"""One log line and one measurement for each request, under an id that every other line of it carries."""

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
from zmartd.http.kit.log_rate_limit import Sparing
from zmartd.http.middleware import unmatched
from zmartd.log import get_logger, write_lines
from zmartd.metrics import Histogram

HEADER = istr("X-Request-Id")
HELD_SECONDS = 0.05
HELD_LINES = 512
LONGEST_PATH = 200
"""Characters of a path that are logged: longer than any of the API's."""

_SANE = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)

_durations = Histogram(
    "zmartd_http_request_duration_seconds",
    "Time from a request's headers to the end of its answer, by route template",
    ["method", "route", "status"],
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def numbered() -> Callable[[], str]:
    """Ids that no other process gives, in the order in which requests came."""
    process, number = secrets.token_hex(6), count()
    return lambda: f"{process}-{next(number):08x}"


class Over(Struct, frozen=True, gc=False):
    """A request that is over."""

    at: float
    request_id: str
    method: str
    route: str
    path: str
    status: int
    seconds: float


class Served(Struct, frozen=True, kw_only=True):
    """The line that tells of it."""

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
    """Whatever becomes of a request, this tells it.

    A caller's own `X-Request-Id` is kept when it is sane, so that a trace goes on through us. Successes on
    `quiet` routes, which machines call all the time, are measured as all are, but logged at level debug.

    Refusals and preflights can be had without any limit, so no more of them are logged than of a `Sparing`
    kind of lines, and no more of a path than LONGEST_PATH.

    Lines are kept for a moment and written together: one by one they would cost as much as an answer from
    memory. A daemon that is killed takes those of its last HELD_SECONDS with it.
    """

    def __init__(
        self,
        clock: Clock,
        new_request_id: Callable[[], str] | None = None,
        quiet: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._new_request_id = new_request_id or numbered()
        self._quiet = quiet
        self._held: list[Over] = []
        self._refusals = Sparing(clock)

    def name(self, headers: Mapping[str, str]) -> str:
        """The id of the request with these headers: it has to be CURRENT_REQUEST_ID while it is answered."""
        given = headers.get(HEADER)
        return given if given and _SANE.fullmatch(given) else self._new_request_id()

    def note(self, request: web.Request, request_id: str, status: int, seconds: float) -> None:
        """Tell how it went and how long it took; `status` is 0 where nobody was left to be answered."""
        method, route = request.method, _template(request)
        if status != HTTPStatus.SWITCHING_PROTOCOLS:  # a WebSocket lasts as long as its client likes
            _durations.labels(method if method in _METHODS else "other", route, str(status)).observe(seconds)
        if route in self._quiet and 200 <= status < 300:
            log.debug("http.request", method=method, route=route, path=request.path, status=status)
            return
        if 400 <= status < 500 or method == hdrs.METH_OPTIONS:
            if not self._refusals.admits():
                return
            if others := self._refusals.left_out():
                log.warning("http.requests_not_logged", requests=others)
        if not self._held:
            asyncio.get_running_loop().call_later(HELD_SECONDS, self.flush)
        at = self._clock.time()
        path = request.path[:LONGEST_PATH]
        self._held.append(Over(at, request_id, method, route, path, status, seconds))
        if len(self._held) >= HELD_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        held, self._held = self._held, []
        if held:
            write_lines(__name__, [_line(one) for one in held])

    async def close(self, _app: web.Application) -> None:
        """Write what is kept, at the end of an application."""
        self.flush()


def _line(over: Over) -> Served:
    return Served(
        method=over.method,
        route=over.route,
        path=over.path,
        status=over.status,
        milliseconds=int(over.seconds * 100_000) / 100,
        request_id=over.request_id,
        timestamp=datetime.fromtimestamp(over.at, UTC),
    )


def _template(request: web.Request) -> str:
    """The route as it is written in the table: a label with few values, whatever callers ask for."""
    resource = request.match_info.route.resource
    if resource is None or resource.canonical == unmatched.PATH:
        return _UNMATCHED
    return resource.canonical
