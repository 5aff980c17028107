"""How many connections an address may hold, and how many messages a connection may send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from zmartd.clock import Clock
from zmartd.http.ws.errors import TooManyConnections, TooManyMessages

WINDOW_SECONDS = 60.0


class Seats:
    """The connections that each address holds on this daemon."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def seat(self, address: str) -> Iterator[None]:
        """Hold one of the seats of `address`. Raises TooManyConnections when all are taken."""
        if self._taken[address] >= self._limit:
            raise TooManyConnections(limit=self._limit)
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]


class MessageAllowance:
    """The messages that one connection may still send in the current minute."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._window_ends = clock.monotonic() + WINDOW_SECONDS
        self._left = limit

    def take(self) -> None:
        """Count one message. Raises TooManyMessages."""
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_SECONDS
            self._left = self._limit
        if self._left == 0:
            raise TooManyMessages(retry_after_seconds=round(self._window_ends - now, 1))
        self._left -= 1
