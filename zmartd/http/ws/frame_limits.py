"""Limits on the frames that a WebSocket client sends, checked before they are parsed."""

from __future__ import annotations

import math
from collections.abc import Callable

from zmartd.clock import Clock
from zmartd.config import RealtimeSettings
from zmartd.http.errors.websocket import TooManyMessages

WINDOW_SECONDS = 60.0
READS_PER_FRAME = 16
"""A frame of 4 KiB arrives in three or four TCP segments. A client that sends single bytes makes the event
loop turn for each of them, which costs more than a frame does."""

_CONTROL = 0x08
_MASKED = 0x80
_LENGTH = 0x7F
_HEADER_BYTES = 2
_MASK_BYTES = 4
_EXTENDED_LENGTH_BYTES = {126: 2, 127: 8}
"""The size of the extended payload length, by the value of the length field (RFC 6455, section 5.2)."""


class FixedWindowLimit:
    """Allows so many events in each minute. A window begins with the first event after the last one."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._window_ends = clock.monotonic() + WINDOW_SECONDS
        self._remaining = limit

    def count(self) -> None:
        """Count one event. Raises TooManyMessages."""
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_SECONDS
            self._remaining = self._limit
        if self._remaining == 0:
            raise TooManyMessages
        self._remaining -= 1


class FrameCounter:
    """Calls `count` for each frame of a byte stream, with whether it is a control frame (ping, pong, close).

    Each fragment of a message is a frame, an empty one too.
    """

    __slots__ = ("_count", "_header", "_skip")

    def __init__(self, count: Callable[[bool], None]) -> None:
        self._count = count
        self._header = b""
        """The bytes of a header that is not complete."""
        self._skip = 0
        """The bytes of the last frame that have not arrived."""

    def feed(self, data: bytes) -> None:
        """Count the frames whose headers are complete with `data`. Raises what `count` raises."""
        if self._header:
            data, self._header = self._header + data, b""
        at, size = self._skip, len(data)
        while at < size:
            end = _frame_end(data, at)
            if end is None:
                self._header, self._skip = data[at:], 0
                return
            self._count(bool(data[at] & _CONTROL))
            at = end
        self._skip = at - size


def _frame_end(data: bytes, at: int) -> int | None:
    """Where the frame that begins at `at` ends; None if its header is not complete."""
    if len(data) < at + _HEADER_BYTES:
        return None
    second = data[at + 1]
    length, payload = second & _LENGTH, at + _HEADER_BYTES
    if extended := _EXTENDED_LENGTH_BYTES.get(length):
        payload += extended
        if len(data) < payload:
            return None
        length = int.from_bytes(data[payload - extended : payload], "big")
    return payload + length + (_MASK_BYTES if second & _MASKED else 0)


class FrameLimits:
    """The limits of one client, on messages, control frames and reads.

    Control frames have a limit of their own: browsers answer our pings by themselves, and these pongs must
    not count as messages.
    """

    def __init__(self, settings: RealtimeSettings, clock: Clock) -> None:
        our_pings = math.ceil(WINDOW_SECONDS / settings.heartbeat_seconds)
        control_frames = settings.max_control_frames_per_minute + our_pings
        reads = READS_PER_FRAME * (settings.max_messages_per_minute + control_frames)
        self._messages = FixedWindowLimit(settings.max_messages_per_minute, clock)
        self._control_frames = FixedWindowLimit(control_frames, clock)
        self._reads = FixedWindowLimit(reads, clock)
        self._frames = FrameCounter(self._count)
        self._exceeded: TooManyMessages | None = None
        self._on_exceeded: Callable[[TooManyMessages], None] | None = None

    def on_exceeded(self, callback: Callable[[TooManyMessages], None]) -> None:
        """Call `callback` once when a limit is exceeded, at once if one has been."""
        self._on_exceeded = callback
        if self._exceeded is not None:
            callback(self._exceeded)

    def accepts(self, data: bytes) -> bool:
        """Whether `data`, the bytes of one read, may be parsed. Once a limit is exceeded, nothing may."""
        if self._exceeded is not None:
            return False
        try:
            self._reads.count()
            self._frames.feed(data)
        except TooManyMessages as error:
            self._exceeded = error
            if self._on_exceeded is not None:
                self._on_exceeded(error)
            return False
        return True

    def _count(self, is_control: bool) -> None:
        (self._control_frames if is_control else self._messages).count()
