"""The names under which values are given: parameters of a query, fields of a body, keys of a message.

Each has to be one that is taken, and be given once, under one of its names. If a misspelt filter or limit
were ignored, something else would be done than what was asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import TypeVar

import msgspec
from msgspec import Struct

from zmartd.http.errors.requests import Problem

MAX_PROBLEMS = 10
"""Problems that one response names: a request has room for thousands of made-up names."""
_MAX_NAME_LENGTH = 64
_RELATED_CUTOFF = 0.4
"""The least similarity of names that have a word in common, as `difflib` measures it; 0.6 for all others."""

Value = TypeVar("Value")


class NoFields(Struct, frozen=True):
    """What takes no values at all."""


class Place(Enum):
    """Where values are given, worded to follow "is not"."""

    QUERY = "a parameter of this route"
    BODY = "a field of this body"
    MESSAGE = "a key of this message"


def read_names(
    kind: type[Struct], pairs: Iterable[tuple[str, Value]], place: Place, unread: Container[str] = ()
) -> tuple[dict[str, Value], dict[str, str], list[Problem]]:
    """The values by field of `kind`, the name under which each was given, and the problems of names that are
    unknown, repeated or read-only.

    Names in `unread` that `kind` neither has nor shows are let through, and their values are not read. Each
    read-only name gets a problem: all those of what a client was shown and sends back.
    """
    fields, read_only = _fields_by_name(kind), _read_only(kind)
    values: dict[str, Value] = {}
    given: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    unchangeable: dict[str, Problem] = {}
    for name, value in pairs:
        field = fields.get(name)
        if field is None:
            shown = name[:_MAX_NAME_LENGTH]
            if name in read_only:
                unchangeable[name] = Problem(name, _unchangeable(kind))
            elif name not in unread and shown not in problems and len(problems) < MAX_PROBLEMS:
                problems[shown] = Problem(shown, _unknown(shown, kind, place))
        elif field in values:
            problems[field] = Problem(field, _repeated(field, kind))
        else:
            values[field], given[field] = value, name
    return values, given, [*problems.values(), *unchangeable.values()]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` is probably meant to be, in whatever case.

    One with a word of `name` need not be as similar as the others: `min_payout` means `min_proceeds`.
    """
    by_lower_case = {one.lower(): one for one in known}
    wanted = name[:_MAX_NAME_LENGTH].lower()
    words = set(wanted.split("_"))
    related = [one for one in by_lower_case if not words.isdisjoint(one.split("_"))]
    close = difflib.get_close_matches(wanted, by_lower_case, n=1) or difflib.get_close_matches(
        wanted, related, n=1, cutoff=_RELATED_CUTOFF
    )
    return by_lower_case[close[0]] if close else None


@cache
def aliases_of(kind: type[Struct]) -> Mapping[str, str]:
    """The field's name for each alias of a field of `kind`.

    The camelCase of a name is an alias. The class attribute `ALIASES` of `kind` adds others.
    """
    names = _names(kind)
    camel = {_camel(name): name for name in names if _camel(name) not in names}
    return camel | getattr(kind, "ALIASES", {})


@cache
def _fields_by_name(kind: type[Struct]) -> Mapping[str, str]:
    return {name: name for name in _names(kind)} | dict(aliases_of(kind))


@cache
def _read_only(kind: type[Struct]) -> frozenset[str]:
    """Names of what `kind` changes a part of, which its class attribute `READ_ONLY` has: all fields of it."""
    names: Iterable[str] = getattr(kind, "READ_ONLY", ())
    return frozenset(spelling for name in names for spelling in (name, _camel(name)))


def _names(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _unknown(name: str, kind: type[Struct], place: Place) -> str:
    taken = ", ".join(_names(kind)) or "none"
    meant = nearest(name, _fields_by_name(kind))
    if meant is None:
        return f"is not {place.value}, which takes {taken}"
    return f"is not {place.value}; did you mean {_fields_by_name(kind)[meant]}? It takes {taken}"


def _unchangeable(kind: type[Struct]) -> str:
    return f"is read-only: leave it out; what can be changed is {', '.join(_names(kind))}"


def _repeated(field: str, kind: type[Struct]) -> str:
    aliases = [name for name, meant in aliases_of(kind).items() if meant == field]
    return f"must be given once, as {' or '.join([field, *aliases])}"
