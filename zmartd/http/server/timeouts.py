"""Timeouts for each phase of a request, checked by a sweep over all connections.

aiohttp waits an hour for the head of a request, and forever for its body. A timer for each request would cost
each request something; a sweep costs none of them anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from zmartd.clock import Clock
from zmartd.config import ServerSettings
from zmartd.log import get_logger
from zmartd.metrics import Counter

CLOSING_SECONDS = 5.0
"""How long a peer may take to close after the last response."""
LOG_SECONDS = 60.0
"""The shortest time between two log lines about slow peers."""

log = get_logger(__name__)


class Phase(Enum):
    """What a connection waits for its peer to do."""

    HEAD = "head"
    """Send the head of the first request, or the rest of a later one."""
    BODY = "body"
    """Send the body of a request."""
    RESPONSE = "answer"
    """Read the response."""
    IDLE = "idle"
    """Send another request."""
    CLOSING = "close"
    """Close the connection after the last response."""
    NONE = "none"
    """Nothing: the connection waits for the daemon, or is a WebSocket."""


_EXPIRED = Counter(
    "zmartd_http_expired_connections", "Connections closed because their peer took too long.", ["step"]
)


class TimedConnection(Protocol):
    """What `ConnectionTimeouts` needs of a connection."""

    phase_since: tuple[Phase, int, float]
    """The phase and request that the last sweep found, and the monotonic time of the first one to find it."""

    @property
    def phase(self) -> tuple[Phase, int]:
        """The phase, and the number of the request that it belongs to."""

    @property
    def body_bytes(self) -> int:
        """The bytes received of the body that it waits for."""

    def expire(self, phase: Phase) -> None:
        """Close the connection."""


class ConnectionTimeouts:
    """Closes connections that stay in one phase for too long.

    A body may take longer the more of it has arrived. aiohttp itself handles the keep-alive timeout:
    `keepalive_seconds` from one response to the head of the next request.
    """

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self.keepalive_seconds = settings.keepalive_seconds
        self._seconds = {
            Phase.HEAD: settings.head_seconds,
            Phase.BODY: settings.body_seconds,
            Phase.RESPONSE: settings.answer_seconds,
            Phase.IDLE: math.inf,
            Phase.CLOSING: CLOSING_SECONDS,
            Phase.NONE: math.inf,
        }
        self._body_bytes_per_second = settings.min_body_bytes_per_second
        self._clock = clock
        self._next_log_at = 0.0

    def sweep(self, connections: Sequence[TimedConnection]) -> None:
        """Close the connections whose time in the present phase of their request is over."""
        now = self._clock.monotonic()
        expired = 0
        for connection in connections:
            phase, request = connection.phase
            seen_phase, seen_request, since = connection.phase_since
            if (phase, request) != (seen_phase, seen_request):
                connection.phase_since = phase, request, now
            elif now - since >= self._timeout_seconds(connection, phase):
                _EXPIRED.labels(phase.value).inc()
                expired += 1
                connection.expire(phase)
        if expired and now >= self._next_log_at:
            self._next_log_at = now + LOG_SECONDS
            log.warning("http.peers_too_slow", connections=expired)

    def _timeout_seconds(self, connection: TimedConnection, phase: Phase) -> float:
        extra = connection.body_bytes / self._body_bytes_per_second if phase is Phase.BODY else 0.0
        return self._seconds[phase] + extra
