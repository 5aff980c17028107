"""Counts the frames of a WebSocket as their heads arrive, before anything of them is parsed.

What the parser hands on is not enough to count: it answers pings, drops pongs and joins fragments by itself.
"""

from __future__ import annotations

from collections.abc import Callable

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
