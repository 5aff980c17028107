"""The envelopes that wallets put around a text before they sign it."""

from __future__ import annotations

import struct
from collections.abc import Callable

HEAD = b"\xffsolana offchain"

Wrap = Callable[[bytes, bytes], bytes]
"""The bytes to sign, of a text and the signer's public key."""


def version_0(text: bytes, key: bytes, domain: bytes = bytes(32), form: int = 0) -> bytes:
    return HEAD + b"\0" + domain + bytes([form, 1]) + key + struct.pack("<H", len(text)) + text


def version_0_older(text: bytes, _key: bytes, form: int = 0) -> bytes:
    return HEAD + b"\0" + bytes([form]) + struct.pack("<H", len(text)) + text


def version_1(text: bytes, key: bytes) -> bytes:
    return HEAD + b"\1\1" + key + text


def version_1_draft(text: bytes, key: bytes) -> bytes:
    return HEAD + b"\1\1" + key + struct.pack("<H", len(text)) + text


ENVELOPES: tuple[Wrap, ...] = (version_0, version_0_older, version_1, version_1_draft)
