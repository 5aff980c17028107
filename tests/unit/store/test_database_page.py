"""docs/database.md has every table that migrations make, and no other, and what of them expires."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from tests.integration.store.expiry import rules
from zmartd.config_file import settings_table
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


def test_what_expires_is_listed_with_how_long_it_is_kept_and_the_setting_that_says_so() -> None:
    kept_for = r"for ever|no longer|\d+ \w+"
    rows = re.findall(rf"^\| ({kept_for}) \| [^|]+ \| `(\w+)`[^|]*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    told = [(kept, table) for kept, table, _ in rows if kept != "for ever"]
    assert told == [(_in_words(rule.keep), rule.table) for rule in rules()]
    assert [table for kept, table, _ in rows if kept == "for ever"] == [
        rule.table for rule in rules(orphaned_days=1) if not rules(rule.table)
    ]
    settings = {one.strip("`") for _, _, one in rows if one.startswith("`")}
    assert settings <= {setting.name for setting in settings_table()}


def _in_words(kept: timedelta) -> str:
    if kept.days:
        return f"{kept.days} day{'s' if kept.days > 1 else ''}"
    return f"{kept.seconds // 3_600} hours" if kept else "no longer"
