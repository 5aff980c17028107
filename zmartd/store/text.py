"""Text of any origin, as Postgres can keep it."""

from __future__ import annotations


def storable(text: str, most: int) -> str:
    """The first `most` characters without NUL, which Postgres refuses, and with `?` for halves of surrogate
    pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()[:most]
