"""The eight bytes by which Anchor tells instructions, accounts and events apart."""

from __future__ import annotations

import hashlib
from typing import Literal

DISCRIMINATOR_BYTES = 8


def discriminator(namespace: Literal["global", "account", "event"], name: str) -> bytes:
    """The first 8 bytes of SHA-256 of `namespace:name`; instructions live in the namespace `global`."""
    return hashlib.sha256(f"{namespace}:{name}".encode()).digest()[:DISCRIMINATOR_BYTES]
