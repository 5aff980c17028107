"""Times as text: the one form that the API, its frames and a proposal's document have."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(moment: datetime) -> str:
    """`moment` (aware) in UTC with milliseconds, as JavaScript writes it: `2026-01-31T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
