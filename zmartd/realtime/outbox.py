"""When what waits for clients is written: for all of them together, with a pause in between.

A message that comes while nothing was written lately goes out at the end of its turn of the event loop. The
pause after that is a multiple of what the writing took: with few clients nobody notices it, and with many it
puts several messages into one write, which is what a message to many costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Final, Protocol

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.realtime.batch import EncodedFrame
from zmartd.realtime.encodings import Audience

PAUSE_FACTOR: Final = 8
"""Writing to all takes at most one ninth of the time, until the pause is MAX_PAUSE_SECONDS."""
MAX_PAUSE_SECONDS: Final = 0.04
AT_ONCE: Final = 500
"""Clients that are written to in one turn of the event loop."""
CHECK_SECONDS: Final = 1.0

WRITTEN: Final = Counter("zmartd_websocket_frames", "Frames handed to WebSocket clients' connections.")

log = get_logger(__name__)


class Waiting(Protocol):
    """A client for whom frames wait."""

    closed: bool

    def flush(self) -> int:
        """Write them, if the client has read what was written before. Returns how many were written."""

    def check(self, now: float) -> None:
        """Disconnect a client that has been behind for too long."""


class Outbox:
    """The clients for whom frames wait, and those that are behind."""

    def __init__(self, max_buffered_bytes: int, clock: Clock) -> None:
        self.max_buffered_bytes = max_buffered_bytes
        self.clock = clock
        self._waiting: list[Waiting] = []
        self._flushing: Iterator[Waiting] | None = None
        self._is_scheduled = False
        self._next_at = 0.0
        self._spent = 0.0
        self._behind: dict[Waiting, None] = {}
        self._is_checking = False
        self._last: tuple[bytes, Audience, EncodedFrame] | None = None

    @property
    def behind(self) -> int:
        """How many clients are behind."""
        return len(self._behind)

    def add(self, *clients: Waiting) -> None:
        """Flush clients together with the others."""
        self._waiting.extend(clients)
        if not self._is_scheduled:
            self._is_scheduled = True
            pause = self._next_at - perf_counter()
            loop = asyncio.get_running_loop()
            if pause > 0:
                loop.call_later(pause, self._flush)
            else:
                loop.call_soon(self._flush)

    def encoded(self, text: bytes, audience: Audience) -> EncodedFrame:
        """A frame for one client. It is encoded once where others get the same one right after."""
        last = self._last
        if last is None or last[0] is not text or last[1] is not audience:
            last = self._last = text, audience, EncodedFrame(audience.encode(text))
        return last[2]

    def watch(self, client: Waiting) -> None:
        """Check a client, which is behind, every CHECK_SECONDS."""
        self._behind[client] = None
        if not self._is_checking:
            self._is_checking = True
            asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def unwatch(self, client: Waiting) -> None:
        """It is behind no more."""
        self._behind.pop(client, None)

    def _flush(self) -> None:
        began = perf_counter()
        if self._flushing is None:
            self._flushing, self._waiting = iter(self._waiting), []
        flushed = frames = 0
        for client in islice(self._flushing, AT_ONCE):
            flushed += 1
            try:
                frames += client.flush()
            except Exception:  # of one connection; the others still have to be written to
                log.exception("websocket.write_failed")
        WRITTEN.inc(frames)
        now = perf_counter()
        self._spent += now - began
        loop = asyncio.get_running_loop()
        if flushed == AT_ONCE:
            loop.call_soon(self._flush)
            return
        pause = min(MAX_PAUSE_SECONDS, PAUSE_FACTOR * self._spent)
        self._next_at, self._spent, self._flushing = now + pause, 0.0, None
        if self._waiting:
            loop.call_later(pause, self._flush)
        else:
            self._is_scheduled = False

    def _check(self) -> None:
        now = self.clock.monotonic()
        for client in list(self._behind):
            if client.closed:
                del self._behind[client]
            else:
                client.check(now)
        self._is_checking = bool(self._behind)
        if self._is_checking:
            asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)
