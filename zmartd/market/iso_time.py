"""Times as ISO 8601 text, in the one form of the API, its frames, documents, tables and messages."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(time: datetime) -> str:
    """`time` (aware) in UTC with milliseconds, as JavaScript writes it: `2026-01-31T12:00:00.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def utc_from_unix(unix_seconds: int) -> datetime:
    """Unix seconds as a timestamp in UTC. Times outside the range of `datetime` become the epoch."""
    try:
        return datetime.fromtimestamp(unix_seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, tz=UTC)


def iso_time_or_none(time: datetime | None) -> str | None:
    """`iso_time` of what may be missing."""
    return None if time is None else iso_time(time)
