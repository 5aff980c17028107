"""How long a peer may take for each step of a request: one look at all connections now and then.

aiohttp lets a connection wait an hour for the head of a request and for ever for its body. A timer for each
request would cost each request; a look at what every connection waits for costs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from zmartd.clock import Clock
from zmartd.config import Server
from zmartd.log import get_logger
from zmartd.metrics import Counter

LOG_SECONDS = 60.0
"""How often it is logged, at most, that peers were too slow."""

log = get_logger(__name__)


class Step(Enum):
    """What a connection waits for its peer to do."""

    HEAD = "head"
    """Send the head of a first request, or the rest of a later one's."""
    BODY = "body"
    """Send the body of a request."""
    ANSWER = "answer"
    """Take what was written."""
    IDLE = "idle"
    """Send a further request."""
    NONE = "none"


_EXPIRED = Counter(
    "zmartd_http_expired_connections", "Connections closed because their peer took too long", ["step"]
)


class Waiting(Protocol):
    """A connection, as this module sees it."""

    waits: tuple[Step, int, float]
    """What it was seen waiting for, in which of its requests, and since when by the monotonic clock."""

    @property
    def step(self) -> tuple[Step, int]: ...

    @property
    def body_bytes(self) -> int:
        """How much of the body has come that it waits for."""

    def expire(self, step: Step) -> None: ...


class Deadlines:
    """Lets go of connections whose peers take too long for a step.

    Keep-alive is aiohttp's own: `keepalive_seconds` from one answer to the next request's head.
    """

    def __init__(self, settings: Server, clock: Clock) -> None:
        self.keepalive_seconds = settings.keepalive_seconds
        self._seconds = {
            Step.HEAD: settings.head_seconds,
            Step.BODY: settings.body_seconds,
            Step.ANSWER: settings.answer_seconds,
            Step.IDLE: math.inf,
            Step.NONE: math.inf,
        }
        self._body_bytes_per_second = settings.min_body_bytes_per_second
        self._clock = clock
        self._log_from = 0.0

    def look(self, connections: Sequence[Waiting]) -> None:
        """Let go of those that have waited too long for the same step of the same request."""
        now = self._clock.monotonic()
        expired = 0
        for connection in connections:
            step, request = connection.step
            waits, of_request, since = connection.waits
            if (step, request) != (waits, of_request):
                connection.waits = step, request, now
            elif now - since >= self._allowed_seconds(connection, step):
                _EXPIRED.labels(step.value).inc()
                expired += 1
                connection.expire(step)
        if expired and now >= self._log_from:
            self._log_from = now + LOG_SECONDS
            log.warning("http.peers_too_slow", connections=expired)

    def _allowed_seconds(self, connection: Waiting, step: Step) -> float:
        earned = connection.body_bytes / self._body_bytes_per_second if step is Step.BODY else 0.0
        return self._seconds[step] + earned
