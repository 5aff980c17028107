"""The header Accept (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_RANGES = 32
"""Browsers send about ten. A header has room for thousands, and is read before the request is counted."""

_KEPT: Final = 128
"""Headers of which the answer is kept: clients of one kind send the same."""

_QUALITY = re.compile(r";[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*(?:;|$)", re.ASCII | re.IGNORECASE)


@lru_cache(_KEPT)
def preferred_type(accept: str, offered: tuple[str, ...]) -> str | None:
    """Which of `offered`, media types in lower case, `accept` prefers: the first of those of equal quality.

    None where it accepts none of them. A range with parameters besides `q` stands for its type. Ranges after
    the first MAX_RANGES are not read.
    """
    ranges = _qualities(accept)
    qualities = {one: _quality(one, ranges) for one in offered}
    best = max(offered, key=lambda one: qualities[one])
    return best if qualities[best] > 0 else None


def _qualities(accept: str) -> dict[str, float]:
    """The quality of each range in `accept`."""
    ranges: dict[str, float] = {}
    for part in accept.split(",", MAX_RANGES)[:MAX_RANGES]:
        found = _QUALITY.search(part)
        ranges[part.partition(";")[0].strip().lower()] = float(found[1]) if found else 1.0
    return ranges


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """The quality of a type by the most specific range that it is in."""
    for one in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if one in ranges:
            return ranges[one]
    return 0.0
