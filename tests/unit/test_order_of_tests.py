from __future__ import annotations

from pathlib import Path

from tests.conftest import LONGEST

ROOT = Path(__file__).parents[2]


def test_the_files_that_begin_first_are_there() -> None:
    assert [file for file in LONGEST if not (ROOT / file).is_file()] == []
