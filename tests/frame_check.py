"""Checks every frame that the tests make a hub send against the AsyncAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from zmartd.http.asyncapi.document import asyncapi
from zmartd.realtime.frame_kinds import FRAME_KINDS
from zmartd.realtime.frames import Frame

_encode = Frame.encode
_faults: list[str] = []


def watch() -> None:
    """Check what is encoded in this process from now on."""
    setattr(Frame, "encode", _checked)  # noqa: B010 - mypy allows no assignment to a method


def faults() -> list[str]:
    """What was wrong since the last call."""
    found = _faults.copy()
    _faults.clear()
    return found


def faults_of(frame: dict[str, Any]) -> list[str]:
    """What is wrong with one frame."""
    found = [
        [f"{frame['type']}: {error.message}" for error in validator.iter_errors(frame)]
        for validator in _validators().get(frame.get("type", ""), ())
    ]
    return min(found, key=len, default=[f"unknown type {frame.get('type')!r}"])


def _checked(frame: Frame) -> bytes:
    encoded = _encode(frame)
    _faults.extend(faults_of(msgspec.json.decode(msgspec.json.encode(frame))))
    return encoded


@cache
def _validators() -> dict[str, list[jsonschema_rs.Draft202012Validator]]:
    """By type: of the kinds of frames that have it."""
    document = asyncapi()["components"]
    schemas = {name: _strict(schema) for name, schema in document["schemas"].items()}
    validators: dict[str, list[jsonschema_rs.Draft202012Validator]] = {}
    for name, kind in FRAME_KINDS.items():
        schema = {**_strict(document["messages"][name]["payload"]), "components": {"schemas": schemas}}
        validators.setdefault(kind.name, []).append(jsonschema_rs.Draft202012Validator(schema))
    return validators


def _strict(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(one) for name, one in schema.items()}
    return strict | {"additionalProperties": False} if "properties" in schema and "type" in schema else strict
