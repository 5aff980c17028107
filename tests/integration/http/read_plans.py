"""The plans of the statements that answers of the API need, as Postgres logs them (auto_explain)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

_EXPLAINING: Final = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "random_page_cost": "1",
}
"""Postgres is to decide as for tables in memory, where to look a page up costs what the next one costs."""
_OF_THE_CLIENT: Final = "typeinfo_tree"
"""asyncpg asks Postgres for the types of a statement that it does not know."""
_PLAN: Final = re.compile(rb"  plan:\n(\t\{\n.*?\n\t\})\n", re.DOTALL)
_READING: Final = frozenset({"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan", "Tid Scan"})
_REMOVED: Final = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


class StatementRead(Struct, frozen=True):
    """What one statement read, those of functions included as statements of their own."""

    text: str
    returned: int
    read: int
    """Rows of tables and entries of indexes, also those that were not returned."""
    scanned: dict[str, int]
    """Rows that were read in the order of their table, by table."""
    plan: str
    """As JSON."""


class PlanLog:
    """Reads from the server's log what the sessions of a database did that began after `begin`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_until = 0

    async def begin(self, dsn: str, database: str) -> None:
        """Have the plans of all statements logged. `dsn` is that of a superuser."""
        connection = await asyncpg.connect(dsn)
        try:
            for name, value in _EXPLAINING.items():
                await connection.execute(f"alter database {database} set {name} = '{value}'")
        finally:
            await connection.close()

    def new(self) -> list[StatementRead]:
        """The statements that have ended since the last call.

        A statement's plan is in the log before its client may send the next one.
        """
        with self._log.open("rb") as log:
            log.seek(self._read_until)
            text = log.read()
            self._read_until = log.tell()
        found = [_statement(msgspec.json.decode(plan)) for plan in _PLAN.findall(text)]
        return [one for one in found if _OF_THE_CLIENT not in one.text]


def _statement(logged: dict[str, Any]) -> StatementRead:
    read, scanned = 0, dict[str, int]()
    for node in _nodes(logged["Plan"]):
        if node["Node Type"] in _READING:
            rows = sum(node.get(name, 0) for name in ("Actual Rows", *_REMOVED)) * node["Actual Loops"]
            read += round(rows)
            if node["Node Type"] == "Seq Scan":
                table = node["Relation Name"]
                scanned[table] = scanned.get(table, 0) + round(rows)
    return StatementRead(
        " ".join(logged["Query Text"].split()),
        round(logged["Plan"]["Actual Rows"] * logged["Plan"]["Actual Loops"]),
        read,
        scanned,
        msgspec.json.encode(logged["Plan"]).decode(),
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
