"""What a WebSocket client may send, decided before anything of it is parsed."""

from __future__ import annotations

import math
from collections.abc import Callable

from zmartd.clock import Clock
from zmartd.config import Realtime
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws.limits import WINDOW_SECONDS, Allowance

_CONTROL = 0x08
_MASKED = 0x80
_LENGTH = 0x7F
_HEAD_BYTES = 2
_MASK_BYTES = 4
_EXTENDED_BYTES = {126: 2, 127: 8}
"""How many bytes of length follow a head of that length (RFC 6455, 5.2)."""


class FrameMeter:
    """Calls `count` once for each frame, in the order in which they arrive.

    `count` is told whether it is a control frame: a ping, a pong or a close. Parts of a message are frames,
    empty ones too.
    """

    __slots__ = ("_count", "_head", "_skip")

    def __init__(self, count: Callable[[bool], None]) -> None:
        self._count = count
        self._head = b""
        """The bytes of a head that has not arrived as a whole."""
        self._skip = 0
        """Bytes to come that belong to the last frame."""

    def feed(self, data: bytes) -> None:
        """Count the frames of which the heads are complete with `data`. Raises what `count` raises."""
        if self._head:
            data, self._head = self._head + data, b""
        at, size = self._skip, len(data)
        while at < size:
            following = _following(data, at)
            if following is None:
                self._head, self._skip = data[at:], 0
                return
            self._count(bool(data[at] & _CONTROL))
            at = following
        self._skip = at - size


def _following(data: bytes, at: int) -> int | None:
    """Where the frame after the one at `at` begins; None where the head is incomplete."""
    if len(data) < at + _HEAD_BYTES:
        return None
    second = data[at + 1]
    length, payload = second & _LENGTH, at + _HEAD_BYTES
    if extended := _EXTENDED_BYTES.get(length):
        payload += extended
        if len(data) < payload:
            return None
        length = int.from_bytes(data[payload - extended : payload], "big")
    return payload + length + (_MASK_BYTES if second & _MASKED else 0)


READS_PER_FRAME = 16
"""A frame of 4 KiB comes in three or four TCP segments. A client that sends each byte by itself makes the
event loop turn for every one of them, which costs more than a frame does.
"""


class Screen:
    """Lets a client's bytes through to the parser for as long as it sends no more than it may.

    Control frames have an allowance of their own, so that answers to our pings, which browsers send by
    themselves, take nothing from the messages.
    """

    def __init__(self, settings: Realtime, clock: Clock) -> None:
        our_pings = math.ceil(WINDOW_SECONDS / settings.heartbeat_seconds)
        control_frames = settings.max_control_frames_per_minute + our_pings
        reads = READS_PER_FRAME * (settings.max_messages_per_minute + control_frames)
        self._messages = Allowance(settings.max_messages_per_minute, clock)
        self._control_frames = Allowance(control_frames, clock)
        self._reads = Allowance(reads, clock)
        self._meter = FrameMeter(self._count)
        self._refused: TooManyMessages | None = None
        self._refuse: Callable[[TooManyMessages], None] | None = None

    def when_refused(self, refuse: Callable[[TooManyMessages], None]) -> None:
        """Tell `refuse` once when the client has sent too much; at once if it has already."""
        self._refuse = refuse
        if self._refused is not None:
            refuse(self._refused)

    def passes(self, data: bytes) -> bool:
        """Whether `data` may be parsed. After the first no, nothing may."""
        if self._refused is not None:
            return False
        try:
            self._reads.take()
            self._meter.feed(data)
        except TooManyMessages as error:
            self._refused = error
            if self._refuse is not None:
                self._refuse(error)
            return False
        return True

    def _count(self, control: bool) -> None:
        (self._control_frames if control else self._messages).take()
