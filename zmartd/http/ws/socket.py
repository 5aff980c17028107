"""One WebSocket as the transport's own protocol: it reads the client's frames and writes ours.

It holds no task, timer or future while nothing happens: an idle connection is a few small objects.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import Transport
from collections.abc import Callable
from contextlib import suppress
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Final, Protocol

from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws import frame_parser
from zmartd.http.ws.frame_limits import FrameCounts
from zmartd.http.ws.frame_parser import Close, Event, FrameError, FrameParser, Ping
from zmartd.metrics import Counter
from zmartd.realtime.close_codes import CloseCode

CLOSE_SECONDS: Final = 3.0
"""How long a client may take to answer a close frame, and to read what was sent before it."""
NORMAL_CLOSURE: Final = 1000
MAX_CONTROL_BYTES: Final = 125
SEND_BUFFER_BYTES: Final = 65_536
"""What the system keeps for a client that does not read, and twice that for its own account. It would grow to
megabytes, and a client could be minutes behind before anybody noticed.
"""

_PING = b"\x89\x00"
_PONG = 0x8A
_CLOSE = 0x88

_ended = Counter("zmartd_websocket_ended_connections", "WebSocket connections ended by the daemon.", ["code"])

LOST = Counter(
    "zmartd_websocket_lost_connections", "WebSocket connections that ended without their client closing them."
)


class Listener(Protocol):
    """What acts on the messages of a client."""

    @property
    def is_full(self) -> bool:
        """Whether so many messages wait that no more should be read."""

    def receive(self, message: str | bytes) -> None:
        """A message."""

    def flooded(self, error: TooManyMessages) -> None:
        """The client sends too much: say so, and close the connection."""

    def drained(self) -> None:
        """The client has read all that was written."""

    def ended(self) -> None:
        """The connection is gone."""


class Places(Protocol):
    """Where the connection counts."""

    def release(self, transport: Transport) -> None:
        """Stop counting it."""


def close_frame(code: int, reason: str) -> bytes:
    """The frame that closes a connection; the reason is cut where it is too long."""
    return _close_frame(struct.pack("!H", code) + reason.encode()[: MAX_CONTROL_BYTES - 2])


def _close_frame(payload: bytes) -> bytes:
    return bytes([_CLOSE, len(payload)]) + payload


def limit_send_buffer(transport: asyncio.BaseTransport) -> None:
    """Let the system keep at most SEND_BUFFER_BYTES that a client has not read, unless it is gone already."""
    if (opened := transport.get_extra_info("socket")) is not None:
        with suppress(OSError):
            opened.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)


class WebSocket(asyncio.Protocol):
    """The connection of one client, after the handshake. `start` begins it."""

    __slots__ = (
        "_counts",
        "_ended_well",
        "_is_closing",
        "_is_resting",
        "_listener",
        "_on_end",
        "_parser",
        "_places",
        "_transport",
        "awaits_pong",
        "behind",
        "deflates",
        "heartbeat_slot",
        "owner",
        "write",
    )

    def __init__(
        self,
        transport: Transport,
        counts: FrameCounts,
        *,
        on_end: Callable[[WebSocket], None],
        places: Places,
        owner: str,
        max_message_bytes: int,
        deflates: bool,
    ) -> None:
        self._transport = transport
        self._counts = counts
        self._parser = FrameParser(counts.count_frame, max_message_bytes, deflates=deflates)
        self._listener: Listener | None = None
        self._on_end = on_end
        self._places = places
        self._is_closing = False
        """Whether a close frame was sent, and nothing else may be."""
        self._ended_well = False
        """Whether the client closed it, or another process goes on with it."""
        self._is_resting = False
        self.awaits_pong = False
        self.behind = False
        self.deflates = deflates
        self.heartbeat_slot = 0
        self.owner = owner
        """The client in whose places the connection counts."""
        self.write: Callable[[bytes], None] = transport.write
        """The transport's own: without a method around it, of which each of many writes would be a call."""
        transport.set_write_buffer_limits(0)  # so that `behind` is true while anything is unread
        limit_send_buffer(transport)

    def start(self, listener: Listener, received: bytes) -> None:
        """Give messages to `listener`, beginning with `received`, which came behind the handshake."""
        self._listener = listener
        self._transport.resume_reading()
        if received:
            self.data_received(received)

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:
            return
        self.awaits_pong = False
        try:
            self._counts.count_read()
            for event in self._parser.feed(data):
                self._take(event, listener)
        except TooManyMessages as error:
            if not self._is_closing:
                listener.flooded(error)
            self._transport.pause_reading()
        except FrameError as error:
            self.close(error.code, error.reason)
            self._transport.pause_reading()
        else:
            if listener.is_full:
                self._transport.pause_reading()

    def _take(self, event: Event, listener: Listener) -> None:
        if isinstance(event, Close):
            self._answer_close(event)
        elif self._is_closing:
            return
        elif isinstance(event, str | bytes):
            listener.receive(event)
        elif isinstance(event, Ping) and not self.behind:
            payload = event.payload
            self._transport.write(bytes([_PONG, len(payload)]) + payload)

    def resume_reading(self) -> None:
        """Read on: messages can be taken again."""
        if not self._is_closing and not self._is_resting:
            self._transport.resume_reading()

    def rest(self) -> None:
        """Read no more: what the client sends waits in the system."""
        self._is_resting = True
        self._transport.pause_reading()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way in either direction, so that another process can go on with it."""
        is_open = self._listener is not None and not self._is_closing and not self._transport.is_closing()
        return is_open and not self.buffered_bytes() and self._parser.is_between_messages

    @property
    def descriptor(self) -> int:
        """Its file descriptor, while it is open."""
        return int(self._transport.get_extra_info("socket").fileno())

    def fall_silent(self) -> None:
        """Send nothing more but what `close` sends: no half of a frame may be left for another process."""
        self.write = _write_nothing

    def let_go(self) -> None:
        """Close it here alone: another process has it, and the client notices nothing."""
        self._is_closing = self._ended_well = True
        self._transport.abort()

    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if self._is_closing or self._listener is None:
            return
        _ended.labels(str(code)).inc()
        self._send_close(close_frame(code, reason))

    def ping(self) -> None:
        if not self._is_closing:
            self.awaits_pong = True
            self.write(_PING)

    def end_silent(self) -> None:
        if self._transport.is_reading():  # otherwise its answer may wait for us
            self.close(CloseCode.INTERNAL_ERROR, "no answer to a ping")
            self._transport.abort()

    def _answer_close(self, event: Close) -> None:
        """Answer the client's close frame, unless it answers ours, and end the connection."""
        if not self._is_closing:
            self._ended_well = True
            code = NORMAL_CLOSURE if event.code == frame_parser.NO_STATUS else event.code
            self._send_close(_close_frame(struct.pack("!H", code)))
        self._transport.close()

    def _send_close(self, frame: bytes) -> None:
        self._is_closing, self.write = True, _write_nothing
        self._transport.write(frame)
        if self._is_resting and not self._transport.is_closing():  # the client answers
            self._transport.resume_reading()
        # The unread frames of a client that never reads would stay in memory.
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def pause_writing(self) -> None:
        self.behind = True

    def resume_writing(self) -> None:
        self.behind = False
        if self._listener is not None:
            self._listener.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        listener, self._listener = self._listener, None
        self._is_closing, self.write = True, _write_nothing
        if listener is not None:
            if not self._ended_well:
                LOST.inc()
            listener.ended()
            self._on_end(self)
            self._places.release(self._transport)


def _write_nothing(_data: bytes) -> None:
    """For a connection on which nothing may be sent any more."""
