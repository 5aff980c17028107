"""docs/errors.md has every code of an error that somebody can meet."""

from __future__ import annotations

from tests.record_errors import PAGE, page


def test_the_page_has_the_errors_that_there_are() -> None:
    """`python -m tests.record_errors` writes it again."""
    assert PAGE.read_text() == page(PAGE.read_text())
