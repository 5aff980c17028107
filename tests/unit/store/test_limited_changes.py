from __future__ import annotations

import re
from pathlib import Path

import pytest

import zmartd

SOURCES = sorted(Path(zmartd.__file__).parent.rglob("*.py"))
SUBQUERY = re.compile(r"(?<!not )\bin \(\s*select\b(?:[^()\"]|\((?:[^()\"]|\([^()\"]*\))*\))*\blimit\b")
"""Up to its limit, without leaving its brackets or the text."""


@pytest.mark.parametrize(
    "asks_again",
    [
        "delete from t where id in (\n    select id from t where at < now() - $1 limit 100 for update)",
        "update t set n = 1 where (a, b) in (select a, b from t\n where not exists (select) limit $1)",
    ],
)
def test_a_limit_that_may_be_taken_twice_is_found(asks_again: str) -> None:
    assert SUBQUERY.search(asks_again)


def test_a_limit_outside_of_the_subquery_is_not_found() -> None:
    assert not SUBQUERY.search("select id from t where id in (select id from u where n = 1) limit 1")


def test_no_statement_takes_a_limited_number_of_rows_by_a_subquery_that_may_run_again() -> None:
    """Postgres may run the subquery of an IN once for each row, and each time it takes as many again.

    `with chosen as materialized (select ... limit ...)` runs once, whatever Postgres believes of the table.
    """
    found = [
        f"{path.name}: {match.group()}" for path in SOURCES for match in SUBQUERY.finditer(path.read_text())
    ]
    assert not found
