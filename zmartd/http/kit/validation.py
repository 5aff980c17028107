"""Converts requests into their types, and reports every invalid field, not only the first.

A field's rule is the description in its annotation, worded so that "must be <rule>" is a sentence. The
OpenAPI document shows the same description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, inspect

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field
from zmartd.text.readable import Unreadable

RequestType = TypeVar("RequestType", bound=Struct)


_BY_FIELD: Mapping[str, str] = {}
"""Where each value was given under the name of its field."""
_WHOLE = re.compile("-?(0|[1-9][0-9]*)", re.ASCII)
_ITEM = re.compile(r"\$\[([0-9]+)\]`$")
"""Where msgspec's message says which item of a list it is about."""


class _Rule(Struct, frozen=True):
    name: str
    attribute: str
    """The field's name in Python, where `name` is a keyword."""
    type: Any
    """What is not null has to be."""
    is_number: bool
    """Whether that is a plain whole number, for which msgspec takes `1e1` from a text."""
    text: str
    required: bool


def from_json(
    kind: type[RequestType],
    values: Mapping[str, Any],
    given: Mapping[str, str] = _BY_FIELD,
    problems: Sequence[Problem] = (),
) -> RequestType:
    """`values` (the JSON of each field) as a `kind`. Null means absent.

    Raises InvalidRequest with all problems: `problems`, which the caller has found, and those of the values,
    which name a field as the caller did: `given` has those names.
    """
    return _convert(kind, values, given, problems, strict=True)


def from_text(
    kind: type[RequestType],
    values: Mapping[str, str],
    given: Mapping[str, str] = _BY_FIELD,
    problems: Sequence[Problem] = (),
) -> RequestType:
    """`values` (the text of each field) as a `kind`.

    Raises InvalidRequest with all problems, as `from_json` does.
    """
    return _convert(kind, values, given, problems, strict=False)


def _convert(
    kind: type[RequestType],
    named: Mapping[str, Any],
    given: Mapping[str, str],
    found: Sequence[Problem],
    *,
    strict: bool,
) -> RequestType:
    values: dict[str, Any] = {}
    problems = list(found)
    for rule in _rules(kind):
        value = named.get(rule.name)
        if value is None:
            if rule.required:
                problems.append(Problem(rule.name, f"is required: {rule.text}"))
            continue
        try:
            values[rule.attribute] = _unwrap(_value(rule, value) if strict else _value_of_text(rule, value))
        except (msgspec.ValidationError, RecursionError) as error:
            name = given.get(rule.name, rule.name)
            problems.append(Problem(name, f"must be {rule.text}{_reason(error)}"))
    if problems:
        raise InvalidRequest(*problems)
    return kind(**values)


def _value(rule: _Rule, value: Any, *, strict: bool = True) -> Any:
    return msgspec.convert(value, rule.type, strict=strict, dec_hook=_parse)


def _value_of_text(rule: _Rule, text: str) -> Any:
    if rule.is_number and not _WHOLE.fullmatch(text):
        raise msgspec.ValidationError("not in decimal digits")
    return _value(rule, text, strict=False)


def _reason(error: Exception) -> str:
    """What is wrong with a text that is as long as its rule says; where there are several, with which."""
    if not isinstance(error.__cause__, Unreadable):
        return ""
    place = _ITEM.search(str(error))
    return f": {'' if place is None else f'in item {int(place[1]) + 1}, '}{error.__cause__}"


def _parse(kind: type, raw: Any) -> Any:
    if issubclass(kind, Field):
        return kind.parse(raw)
    raise NotImplementedError(kind)


def _unwrap(value: Any) -> Any:
    """The plain text or number in a Field, as encoders and the database need it."""
    if isinstance(value, tuple):
        return tuple(_unwrap(item) for item in value)
    if isinstance(value, Field):
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
    return value


@cache
def _rules(kind: type[Struct]) -> tuple[_Rule, ...]:
    hints = get_type_hints(kind, include_extras=True)
    types = {name: _not_null(hint) for name, hint in hints.items()}
    return tuple(
        _Rule(
            field.encode_name,
            field.name,
            types[field.name],
            _is_number(types[field.name]),
            _description(hints[field.name]),
            field.required,
        )
        for field in msgspec.structs.fields(kind)
    )


def _not_null(annotation: Any) -> Any:
    """The type without None: of what is absent no value is converted, and `null` in a query is a text."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_not_null(choices[0]), *choices[1:])]
    if origin in {Union, UnionType}:
        return reduce(or_, (one for one in choices if one is not NoneType))
    return annotation


def _is_number(annotation: Any) -> bool:
    kind = inspect.type_info(annotation)
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return isinstance(kind, inspect.IntType)


def _description(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        for meta in get_args(annotation)[1:]:
            if isinstance(meta, Meta) and meta.description:
                return meta.description
    raise TypeError(f"{annotation} has no rule: annotate the field with Meta(description=...)")
