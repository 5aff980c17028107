"""docs/database.md has every table that migrations make, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from zmartd.store.postgres.migrations import all_migrations

PAGE = (Path(__file__).parents[3] / "docs" / "database.md").read_text()
LEDGER = "schema_migrations"


def test_every_table_is_listed_once() -> None:
    sql = "\n".join(migration.sql for migration in all_migrations())
    assert not re.search(r"drop table (?!zmartd\.)", sql.lower()), (
        "a table that goes has to go from the page, too"
    )
    made = re.findall(r"^create table (?:if not exists )?public\.(\w+)", sql, re.MULTILINE | re.IGNORECASE)
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(listed) == sorted([*made, LEDGER])
