"""Frames as clients send them, well-formed or not."""

from __future__ import annotations

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    masked: bool = True,
    mask: bytes = bytes(4),
    reserved: int = 0,
    length_bytes: int | None = None,
) -> bytes:
    """One frame. `reserved`: its reserved bits. `length_bytes`: those of its length, if not the least."""
    size, flag = len(payload), 0x80 if masked else 0
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65_536 else 8
    length = {0: bytes([flag | size & 127])}.get(length_bytes)
    if length is None:
        length = bytes([flag | {2: 126, 8: 127}[length_bytes]]) + size.to_bytes(length_bytes, "big")
    sent = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else payload
    return bytes([(0x80 if final else 0) | reserved | opcode]) + length + (mask if masked else b"") + sent
