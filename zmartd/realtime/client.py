"""A WebSocket client of the hub: writes its frames, and disconnects it when it is too slow."""

from __future__ import annotations

import asyncio
from typing import Protocol

from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.realtime.frames import Broadcast

TRY_AGAIN_LATER = 1013

log = get_logger(__name__)

_frames = Counter("zmartd_websocket_frames", "Frames handed to WebSocket clients' connections")
_dropped = Counter("zmartd_websocket_dropped_clients", "WebSocket clients disconnected for being too slow")


class FrameWriter(Protocol):
    """Writes to the connection of one client. None of its methods waits for the client."""

    def write(self, data: bytes) -> None:
        """Send encoded frames, or buffer them until the client reads them."""

    def buffered_bytes(self) -> int:
        """How much is buffered."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection; repeated calls change nothing."""


class Client:
    """Collects the frames of one iteration of the event loop and writes them together.

    A client that leaves more than `max_buffered_bytes` unread is disconnected: it would never catch up, and
    its frames take memory.
    """

    def __init__(self, writer: FrameWriter, max_buffered_bytes: int) -> None:
        self.signed_in = False
        self.subscriptions: list[str] = []
        self.closed = False
        self._writer = writer
        self._max_buffered_bytes = max_buffered_bytes
        self._pending: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def send(self, frame: bytes) -> None:
        """Send one encoded frame at the end of this iteration of the event loop."""
        if self.closed:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(frame)

    def deliver(self, broadcast: Broadcast, name: str) -> None:
        """Send a message about the market that it knows as `name`, with wallets as it may see them."""
        self.send(broadcast.frame(name, signed_in=self.signed_in))

    def room_bytes(self) -> int:
        """How much can be sent at once before more is unread than may be."""
        unsent = self._writer.buffered_bytes() + sum(map(len, self._pending))
        return self._max_buffered_bytes - unsent

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent before."""
        self._flush()
        self.closed = True
        self._writer.close(code, reason)

    def drop(self) -> None:
        """Disconnect a client that does not keep up."""
        if self.closed:
            return
        self.closed = True
        _dropped.inc()
        log.warning("websocket.dropped_slow_client", buffered_bytes=self._writer.buffered_bytes())
        self._writer.close(TRY_AGAIN_LATER, "too slow: more is waiting for you than may be kept")

    def _flush(self) -> None:
        pending = self._pending
        if self.closed or not pending:
            return
        self._pending = []
        if self._writer.buffered_bytes() > self._max_buffered_bytes:
            self.drop()
            return
        self._writer.write(pending[0] if len(pending) == 1 else b"".join(pending))
        _frames.inc(len(pending))
