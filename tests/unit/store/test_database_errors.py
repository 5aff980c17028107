from __future__ import annotations

import pytest

from zmartd.store.errors import place, unavailable


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://zmartd:hunter2@db.example:5433/zmart", "db.example:5433/zmart"),
        ("postgresql://zmartd:hunter2@db.example/zmart", "db.example/zmart"),
        ("postgresql://zmartd@/zmart?host=%2Frun%2Fzmartd", "/run/zmartd/zmart"),
        ("postgresql://localhost", "localhost/(default database)"),
        ("postgresql://zmartd:hunter2@db.example:notaport/zmart", "an unreadable database.url"),
    ],
)
def test_a_database_is_named_by_its_place_and_never_by_its_password(url, named):
    assert place(url) == named
    error = unavailable(url, ConnectionRefusedError("connection refused"))
    assert named in error.message
    assert "connection refused" in error.message
    assert "hunter2" not in error.message
