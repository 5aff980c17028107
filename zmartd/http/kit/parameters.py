"""The parameters of a query string. Each has to be one that the route takes, and be given once.

If a misspelt filter were ignored, the response would be to another question than the one that was asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache

import msgspec
from msgspec import Struct

from zmartd.http.errors.requests import Problem
from zmartd.http.kit.validation import aliases_of

MAX_PROBLEMS = 10
"""Problems that one response names: a query has room for thousands of made-up names."""
_MAX_NAME_LENGTH = 64


class NoParameters(Struct, frozen=True):
    """The query of a route that takes none."""


def read_parameters(
    kind: type[Struct], pairs: Iterable[tuple[str, str]]
) -> tuple[dict[str, str], list[Problem]]:
    """The values by field of `kind`, and the problems of names that are unknown or repeated."""
    fields = _fields_by_name(kind)
    values: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for name, value in pairs:
        field = fields.get(name)
        if field is None:
            shown = name[:_MAX_NAME_LENGTH]
            if shown not in problems and len(problems) < MAX_PROBLEMS:
                problems[shown] = Problem(shown, _unknown(shown, kind))
        elif field in values:
            problems[field] = Problem(field, _repeated(field, kind))
        else:
            values[field] = value
    return values, list(problems.values())


@cache
def _fields_by_name(kind: type[Struct]) -> Mapping[str, str]:
    return {name: name for name in _names(kind)} | dict(aliases_of(kind))


def _names(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


def _unknown(name: str, kind: type[Struct]) -> str:
    fields = {known.lower(): field for known, field in _fields_by_name(kind).items()}
    taken = ", ".join(_names(kind)) or "none"
    close = difflib.get_close_matches(name.lower(), fields, n=1)
    if not close:
        return f"is not a parameter of this route, which takes {taken}"
    return f"is not a parameter of this route; did you mean {fields[close[0]]}? It takes {taken}"


def _repeated(field: str, kind: type[Struct]) -> str:
    aliases = [name for name, meant in aliases_of(kind).items() if meant == field]
    return f"must be given once, as {' or '.join([field, *aliases])}"
