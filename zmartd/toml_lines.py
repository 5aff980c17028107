"""Says in which line of a TOML text each key is, which the parser does not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def key_lines(text: str) -> dict[str, int]:
    """The number of the line, from 1, in which the statement of each dotted key begins; of tables likewise.

    Of an invalid text it is whatever could be found before the mistake.
    """
    found: dict[str, int] = {}
    header, statement, start = "", "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            start = number
        statement += f"{line}\n"
        is_header = statement.lstrip().startswith("[")
        try:
            # A statement ends with the first line with which it can be read.
            table = tomllib.loads(statement if is_header else header + statement)
        except tomllib.TOMLDecodeError:
            continue
        for name in _names(table):
            found.setdefault(name, start)
        header, statement = statement if is_header else header, ""
    return found


def _names(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield f"{prefix}{key}"
        one = value[-1] if isinstance(value, list) and value else value
        if isinstance(one, dict):
            yield from _names(one, f"{prefix}{key}.")
