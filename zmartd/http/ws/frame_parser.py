"""Reads the frames that a client sends (RFC 6455, section 5), however its bytes are cut.

A frame is refused as soon as its head shows that it may not be: nothing of what is too large is kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from zmartd.realtime.close_codes import CloseCode

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

NO_STATUS = 1005
"""Stands for a close frame without a code."""

_FINAL, _RESERVED, _COMPRESSED, _OPCODE = 0x80, 0x70, 0x40, 0x0F
_CONTROL = 0x08
_MASKED, _LENGTH = 0x80, 0x7F
_MASK_BYTES = 4
_MAX_CONTROL_BYTES = 125
_EXTENDED: Final = {126: (2, 126), 127: (8, 65_536)}
"""By the value of the length field: the bytes of the extended length, and the least that needs them."""
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Those that an endpoint may send, below the ones that anybody may define: 3000 to 4999."""
_END_OF_BLOCK = b"\x00\x00\xff\xff"
"""What a compressed message leaves out at its end (RFC 7692, section 7.2.2)."""


class FrameError(Exception):
    """The client broke the protocol. The connection is closed with `code` and `reason`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Ping(NamedTuple):
    payload: bytes


class Pong(NamedTuple):
    payload: bytes


class Close(NamedTuple):
    code: int
    """NO_STATUS where the frame names none."""
    reason: str


Event = str | bytes | Ping | Pong | Close
"""A text, a binary message, or a control frame."""


class FrameParser:
    """The frames of one client.

    `count` is called once for each frame, with whether it is a control frame, when its head is complete; what
    it raises ends the parsing. A message has at most `max_bytes`, also once it is inflated. `deflates`:
    whether the client may send compressed messages.
    """

    __slots__ = (
        "_count",
        "_deflates",
        "_first",
        "_has_ended",
        "_is_compressed",
        "_kind",
        "_left",
        "_length",
        "_mask",
        "_max_bytes",
        "_parts",
        "_size",
    )

    def __init__(self, count: Callable[[bool], None], max_bytes: int, *, deflates: bool = False) -> None:
        self._count = count
        self._max_bytes = max_bytes
        self._deflates = deflates
        self._left = b""
        """What has arrived of a head or payload that is not complete."""
        self._first = 0
        """The first byte of the frame whose head was read."""
        self._length: int | None = None
        """The length of its payload; None between frames."""
        self._mask = b""
        self._kind = CONTINUATION
        """The opcode of the message that is not complete; CONTINUATION where there is none."""
        self._is_compressed = False
        self._parts: list[bytes] | None = None
        self._size = 0
        """The bytes of the message so far."""
        self._has_ended = False
        """Whether a close frame was read: what follows it means nothing."""

    @property
    def is_between_messages(self) -> bool:
        """Whether all that was fed is complete, so that another parser can go on."""
        return not self._left and self._length is None and self._parts is None and not self._has_ended

    def feed(self, data: bytes) -> Iterator[Event]:
        """What is complete with `data`, in order. Raises FrameError, after which nothing may be fed."""
        if self._left:
            data, self._left = self._left + data, b""
        at = 0
        while not self._has_ended:
            if self._length is None:
                payload_at = self._read_head(data, at)
                if payload_at is None:
                    break
                at = payload_at
            assert self._length is not None, "the head was read"
            end = at + self._length
            if end > len(data):
                break
            payload = _unmasked(data[at:end], self._mask)
            at, self._length = end, None
            event = self._control(payload) if self._first & _CONTROL else self._message(payload)
            if event is not None:
                self._has_ended = isinstance(event, Close)
                yield event
        self._left = b"" if self._has_ended else data[at:]

    def _read_head(self, data: bytes, at: int) -> int | None:
        """Where the payload begins; None if the head is not complete."""
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        self._check_kind(first, second)
        at += 2
        length = second & _LENGTH
        if length in _EXTENDED:
            size, least = _EXTENDED[length]
            if len(data) < at + size:
                return None
            length = int.from_bytes(data[at : at + size], "big")
            if length < least:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length takes more bytes than it needs")
            at += size
        if not first & _CONTROL and self._size + length > self._max_bytes:
            raise self._too_big()
        if len(data) < at + _MASK_BYTES:
            return None
        self._count(bool(first & _CONTROL))
        self._first, self._length, self._mask = first, length, data[at : at + _MASK_BYTES]
        return at + _MASK_BYTES

    def _check_kind(self, first: int, second: int) -> None:
        opcode = first & _OPCODE
        if opcode not in _OPCODES:
            raise FrameError(CloseCode.PROTOCOL_ERROR, f"there is no opcode {opcode}")
        may_be_compressed = self._deflates and opcode in {TEXT, BINARY}
        if first & _RESERVED & ~(_COMPRESSED if may_be_compressed else 0):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        if not second & _MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "frames of clients must be masked")
        if opcode & _CONTROL:
            if not first & _FINAL or second & _LENGTH > _MAX_CONTROL_BYTES:
                raise FrameError(
                    CloseCode.PROTOCOL_ERROR, "a control frame is fragmented, or longer than 125 bytes"
                )
        elif (opcode == CONTINUATION) is (self._parts is None):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a message begins within another, or nothing goes on")

    def _control(self, payload: bytes) -> Event:
        match self._first & _OPCODE:
            case opcode if opcode == PING:
                return Ping(payload)
            case opcode if opcode == PONG:
                return Pong(payload)
            case _:
                return _close(payload)

    def _message(self, payload: bytes) -> Event | None:
        """The message that ends with this frame, if one does."""
        opcode = self._first & _OPCODE
        if opcode != CONTINUATION:
            self._kind, self._is_compressed = opcode, bool(self._first & _COMPRESSED)
        if not self._first & _FINAL:
            if self._parts is None:
                self._parts = []
            self._parts.append(payload)
            self._size += len(payload)
            return None
        if self._parts is not None:
            payload = b"".join([*self._parts, payload])
            self._parts, self._size = None, 0
        if self._is_compressed:
            payload = self._inflated(payload)
        return _text(payload) if self._kind == TEXT else payload

    def _inflated(self, payload: bytes) -> bytes:
        """A compressed message. Each is by itself: the handshake says `client_no_context_takeover`."""
        try:
            inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(
                payload + _END_OF_BLOCK, self._max_bytes + 1
            )
        except zlib.error as error:
            raise FrameError(CloseCode.INVALID_DATA, "a message that is not compressed as it says") from error
        if len(inflated) > self._max_bytes:
            raise self._too_big()
        return inflated

    def _too_big(self) -> FrameError:
        return FrameError(CloseCode.MESSAGE_TOO_BIG, f"send messages of at most {self._max_bytes} bytes")


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    repeated = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(CloseCode.INVALID_DATA, "a text that is not UTF-8") from error


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_STATUS, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
    return Close(code, _text(payload[2:]))
