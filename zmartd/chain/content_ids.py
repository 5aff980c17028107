"""Content ids as the program holds them: 46 bytes that it does not look at."""

from __future__ import annotations


def content_id_text(raw: bytes) -> str | None:
    """The bytes as text if they are printable ASCII, as a content id is; else None."""
    text = raw.rstrip(b"\0").decode("ascii", "replace")
    return text if text and text.isascii() and text.isprintable() else None
