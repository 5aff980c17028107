from __future__ import annotations

from datetime import UTC, datetime

import pytest

from zmartd.market.iso_time import iso_time


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, 123_999, UTC), "2026-03-01T12:00:00.123Z"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00.000Z"),
        (datetime.fromisoformat("2026-03-01T14:00:00+02:00"), "2026-03-01T12:00:00.000Z"),
    ],
)
def test_a_time_is_in_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert iso_time(moment) == text
