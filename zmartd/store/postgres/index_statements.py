"""Which indexes the migrations make, so that a lost one is found and can be made again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from zmartd.store.postgres.migrations import SQL_DIRECTORY, all_migrations

_CHANGE = re.compile(
    r"^create (?P<unique>unique )?index (?:concurrently if not exists )?(?P<made>\w+)\s+on (?P<rest>[^;]+);"
    r"|^drop index (?:public\.|concurrently if exists )(?P<dropped>\w+);"
    r"|^alter table public\.(?P<table>\w+)(?P<changes>[^;]+);",
    re.MULTILINE,
)
"""At the start of a line: what functions and loops make is made by name elsewhere."""

_DROPPED_COLUMN = re.compile(r"drop column (\w+)")


def index_statements(directory: Path = SQL_DIRECTORY) -> Mapping[str, str]:
    """For each index in `public` the statement that makes it while the table is in use.

    Not those of constraints, of event tables that share their form, and of pg_trgm.
    """
    found: dict[str, str] = {}
    for migration in all_migrations(directory):
        for change in _CHANGE.finditer(migration.sql):
            if change["dropped"]:
                found.pop(change["dropped"], None)
                continue
            if change["table"]:  # an index goes with its columns
                for column in _DROPPED_COLUMN.findall(change["changes"]):
                    used = re.compile(rf"ON public\.{change['table']}\b.*\b{column}\b")
                    found = {name: sql for name, sql in found.items() if not used.search(sql)}
                continue
            rest = " ".join(change["rest"].split())
            unique = "UNIQUE " if change["unique"] else ""
            found[change["made"]] = f"CREATE {unique}INDEX CONCURRENTLY {change['made']} ON {rest}"
    return found
