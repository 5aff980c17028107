"""How many connections a caller may hold, and how much a connection may send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from zmartd.clock import Clock
from zmartd.http.errors.websocket import TooManyConnections, TooManyMessages

WINDOW_SECONDS = 60.0


class Seats:
    """The connections that each caller holds on this daemon."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def seat(self, caller: str) -> Iterator[None]:
        """Hold one of the seats of `caller`. Raises TooManyConnections when all are taken."""
        if self._taken[caller] >= self._limit:
            raise TooManyConnections(limit=self._limit)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


class Allowance:
    """How much one connection may still send in the current minute, of something that is counted."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._window_ends = clock.monotonic() + WINDOW_SECONDS
        self._left = limit

    def take(self) -> None:
        """Count one. Raises TooManyMessages."""
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_SECONDS
            self._left = self._limit
        if self._left == 0:
            raise TooManyMessages(limit=self._limit)
        self._left -= 1
