"""Requests against their types: every field that breaks its rule is named, not only the first.

A field's rule is the description in its annotation, written so that "must be <rule>" is a sentence; the same
words go into the API's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field

RequestType = TypeVar("RequestType", bound=Struct)


class _Rule(Struct, frozen=True):
    name: str
    attribute: str
    """The name in Python, where the other one is a keyword."""
    type: Any
    text: str
    required: bool


def from_json(kind: type[RequestType], values: Mapping[str, Any]) -> RequestType:
    """`values` (a decoded JSON object) as a `kind`. Unknown names are ignored; null means absent.

    Of several `spellings` of a field its own name wins. Raises InvalidRequest with all problems.
    """
    return _convert(kind, values, strict=True)


def from_text(kind: type[RequestType], values: Mapping[str, str]) -> RequestType:
    """`values` (a query string or path parameters) as a `kind`. Raises InvalidRequest with all problems."""
    return _convert(kind, values, strict=False)


@cache
def spellings(kind: type[Struct]) -> Mapping[str, str]:
    """The other names that fields of `kind` go by, and whose each is.

    Each field also goes by its name in camelCase, so that a limit like `maxCost` is never taken for an
    unknown field. A class attribute `ALIASES` of `kind` gives further names.
    """
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    camel = {_camel(name): name for name in names if _camel(name) not in names}
    return camel | getattr(kind, "ALIASES", {})


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _convert(kind: type[RequestType], values: Mapping[str, Any], *, strict: bool) -> RequestType:
    aliases = spellings(kind)
    named = {aliases[name]: value for name, value in values.items() if name in aliases}
    named.update((name, value) for name, value in values.items() if name not in aliases)
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for rule in _rules(kind):
        value = named.get(rule.name)
        if value is None:
            if rule.required:
                problems.append(Problem(rule.name, f"is required: {rule.text}"))
            continue
        try:
            given[rule.attribute] = _plain(msgspec.convert(value, rule.type, strict=strict, dec_hook=_parse))
        except (msgspec.ValidationError, RecursionError):
            problems.append(Problem(rule.name, f"must be {rule.text}"))
    if problems:
        raise InvalidRequest(*problems)
    return kind(**given)


def _parse(kind: type, raw: Any) -> Any:
    if issubclass(kind, Field):
        return kind.parse(raw)
    raise NotImplementedError(kind)


def _plain(value: Any) -> Any:
    """A field type says how a value is read. What was read is a plain text or number, as encoders want it."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Field):
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
    return value


@cache
def _rules(kind: type[Struct]) -> tuple[_Rule, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        _Rule(
            field.encode_name,
            field.name,
            hints[field.name],
            _description(hints[field.name]),
            field.required,
        )
        for field in msgspec.structs.fields(kind)
    )


def _description(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        for meta in get_args(annotation)[1:]:
            if isinstance(meta, Meta) and meta.description:
                return meta.description
    raise TypeError(f"{annotation} says no rule: annotate the field with Meta(description=...)")
