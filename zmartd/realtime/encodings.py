"""How the JSON text of a frame goes over a connection."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

Encode = Callable[[bytes], bytes]
"""Makes the bytes that go over a connection out of the JSON text of one frame.

One function for all clients of a kind: they share the bytes.
"""

MIN_DEFLATED_BYTES = 256
"""Shorter texts become hardly shorter."""

_FINAL_TEXT = 0x81
_COMPRESSED = 0x40
_END_OF_BLOCK_BYTES = 4


def text_frame(text: bytes) -> bytes:
    """One unmasked text frame of RFC 6455."""
    return _frame(_FINAL_TEXT, text)


def deflated_text_frame(text: bytes) -> bytes:
    """The same, compressed by itself (RFC 7692, `server_no_context_takeover`) where that makes it shorter."""
    if len(text) >= MIN_DEFLATED_BYTES:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
        if len(deflated) - _END_OF_BLOCK_BYTES < len(text):
            return _frame(_FINAL_TEXT | _COMPRESSED, deflated[:-_END_OF_BLOCK_BYTES])
    return text_frame(text)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class Audience:
    """Clients that get the very same bytes of a message, if they know its market by the same name."""

    __slots__ = ("encode", "signed_in")

    def __init__(self, encode: Encode, signed_in: bool) -> None:
        self.encode = encode
        self.signed_in = signed_in
        """Whether they see whole wallets."""


@cache
def audience(encode: Encode, *, signed_in: bool) -> Audience:
    """The one audience of this kind."""
    return Audience(encode, signed_in)
