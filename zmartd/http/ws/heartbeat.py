"""Pings to all WebSocket clients, and the end of those that do not answer.

A timing wheel: the connections are spread over slots, and every tick serves one slot, so that one timer is
enough for all connections and no tick serves many.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

PONG_SHARE: Final = 0.4
"""How long a client may take to answer, as a share of the time between pings: 10 of 25 seconds."""
TICK_SECONDS: Final = 0.1
MIN_SLOTS: Final = 5


class Pinged(Protocol):
    """A connection that can be pinged."""

    awaits_pong: bool
    """Whether nothing has arrived since the last ping."""

    def ping(self) -> None:
        """Send a ping, and set `awaits_pong`."""

    def end_silent(self) -> None:
        """End the connection: its client did not answer in time."""


class Heartbeat:
    """Pings each connection once in every `seconds`."""

    def __init__(self, seconds: float) -> None:
        slots = max(MIN_SLOTS, round(seconds / TICK_SECONDS))
        self._slots: list[dict[Pinged, None]] = [{} for _ in range(slots)]
        self._tick_seconds = seconds / slots
        self._pong_ticks = round(slots * PONG_SHARE)
        self._at = 0
        self._next_slot = 0
        self._connections = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> int:
        """Ping a connection from now on. Returns its slot."""
        slot = self._next_slot
        self._next_slot = (slot + 1) % len(self._slots)
        self._slots[slot][connection] = None
        self._connections += 1
        if self._timer is None:
            self._wait()
        return slot

    def remove(self, connection: Pinged, slot: int) -> None:
        """Ping it no more."""
        del self._slots[slot][connection]
        self._connections -= 1

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._connections:
            return
        self._wait()
        for connection in list(self._slots[self._at - self._pong_ticks]):
            if connection.awaits_pong:
                connection.end_silent()
        for connection in list(self._slots[self._at]):
            connection.ping()
        self._at = (self._at + 1) % len(self._slots)
