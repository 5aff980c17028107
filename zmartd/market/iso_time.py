"""Times as ISO 8601 text, in the one form of the API, its frames, documents, tables and messages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]((?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
"""A time with its offset from UTC (RFC 3339, 5.6)."""


def iso_time(time: datetime) -> str:
    """`time` (aware) in UTC with milliseconds, as JavaScript writes it: `2026-01-31T12:00:00.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def utc_from_rfc3339(text: str) -> datetime:
    """The time in UTC, cut to microseconds.

    Raises ValueError for another form, for a leap second, and for what `datetime` has not.
    """
    found = RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("not in the form of RFC 3339")
    date, time, fraction, offset = found.groups()
    zone = "+00:00" if offset in {"Z", "z"} else offset
    moment = datetime.fromisoformat(f"{date}T{time}.{(fraction or '0')[:6]:0<6}{zone}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


def utc_from_unix(unix_seconds: int) -> datetime:
    """Unix seconds as a timestamp in UTC. Times outside the range of `datetime` become the epoch."""
    try:
        return datetime.fromtimestamp(unix_seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, tz=UTC)


def has_come(time: datetime | None, now_unix_seconds: int) -> bool:
    """Whether it is `time` or later; False for none."""
    return time is not None and time.timestamp() <= now_unix_seconds


def iso_time_or_none(time: datetime | None) -> str | None:
    """`iso_time` of what may be missing."""
    return None if time is None else iso_time(time)
