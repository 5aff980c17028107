"""Times as whole numbers, for places in lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970, all that Postgres keeps of a time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """The time that many microseconds after 1970. Raises ValueError for none that has a date."""
    if not 0 <= micros <= _LATEST:
        raise ValueError("not a time from 1970 to 9999")
    return _EPOCH + micros * _MICROSECOND
