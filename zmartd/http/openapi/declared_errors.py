"""The errors that each operation may respond with, and their schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from zmartd.chain import failure_names
from zmartd.chain.failures import ProgramRefused
from zmartd.chain.idl import Idl
from zmartd.errors import ZmartdError
from zmartd.http.errors.auth import SessionsUnavailable, Unauthorized
from zmartd.http.errors.requests import (
    BodyTooLarge,
    IdempotencyConflict,
    InvalidHttp,
    InvalidJson,
    InvalidRequest,
    NotYours,
    Problem,
    QuoteExpired,
    RateLimited,
    StillUnderWay,
    Unexpected,
    UnsupportedMediaType,
)
from zmartd.http.errors.statuses import STATUS, snake_case
from zmartd.http.kit.operation import (
    MACHINES_TAG,
    Access,
    Operation,
    is_json,
)
from zmartd.http.openapi.schemas import Json, reference
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable

_ANY_OPERATION = (InvalidHttp, InvalidRequest, Unexpected)
_DATABASE = (DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady)
_BODY = (InvalidJson, BodyTooLarge, UnsupportedMediaType)
_IDEMPOTENCY_KEY = (BodyTooLarge, IdempotencyConflict, StillUnderWay)
_WALLET = (Unauthorized, SessionsUnavailable)

_DETAILS: Json = {
    "title": "ErrorDetails",
    "description": "What an error is about, by name.",
    "type": "object",
    "additionalProperties": True,
}
_PROBLEMS: Json = {
    "type": "array",
    "items": reference(Problem.__name__),
    "minItems": 1,
    "description": "Every invalid field of the request.",
}


def declared_errors(operation: Operation[Any]) -> dict[int, list[type[ZmartdError]]]:
    """The errors that `operation` may respond with, by status, each list sorted by code."""
    kinds = {one for kind in _error_kinds(operation) for one in _with_subclasses(kind)}
    by_status: dict[int, list[type[ZmartdError]]] = {}
    for kind in sorted(kinds, key=lambda kind: (_status(kind), kind.code)):
        by_status.setdefault(_status(kind), []).append(kind)
    return by_status


def error_schemas(idl: Idl, shape: Json, details: Mapping[type[ZmartdError], type[Struct]]) -> Json:
    """A schema for each error, under the name of its class. `shape` is the schema of every error, `details`
    are the types of the details of some.
    """
    kinds = sorted({one for kind in STATUS for one in _with_subclasses(kind)}, key=lambda kind: kind.__name__)
    return {
        _DETAILS["title"]: _DETAILS,
        **{kind.__name__: _schema(kind, idl, shape, details.get(kind)) for kind in kinds},
    }


def _error_kinds(operation: Operation[Any]) -> Iterator[type[ZmartdError]]:
    yield from _ANY_OPERATION
    if operation.tag != MACHINES_TAG:
        yield RateLimited
    if any(is_json(kind) for kind in operation.responses.values()):
        yield from _DATABASE
    yield from operation.errors
    if operation.body is not None or operation.expects_no_body:
        yield from _BODY
    if operation.takes_idempotency_key:
        yield from _IDEMPOTENCY_KEY
    if operation.is_repeatable:
        yield QuoteExpired
    if operation.needs_wallet:
        yield from _WALLET
    if operation.access is Access.OWNER:
        yield NotYours


def _with_subclasses(kind: type[ZmartdError]) -> Iterator[type[ZmartdError]]:
    """`kind` and its subclasses, except those with a status of their own."""
    yield kind
    for child in kind.__subclasses__():
        if child not in STATUS:
            yield from _with_subclasses(child)


def _status(kind: type[ZmartdError]) -> int:
    return next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS)


def _schema(kind: type[ZmartdError], idl: Idl, shape: Json, details: type[Struct] | None) -> Json:
    """`shape` narrowed to one error, whole, because generators cannot combine two schemas of a field."""
    narrowed: Json = {"status": {"const": _status(kind)}, "details": reference(_DETAILS["title"])}
    required = list(shape["required"])
    if issubclass(kind, ProgramRefused):
        names = _program_errors(idl)
        narrowed["error"] = {"type": "string", "examples": names}
        narrowed["code"] = {
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]*$",
            "examples": [snake_case(name) for name in names],
            "description": "The name of the error of the program or the chain, in snake_case.",
        }
    else:
        narrowed |= {"error": {"const": kind.__name__}, "code": {"const": kind.code}}
    if issubclass(kind, InvalidRequest):
        narrowed["details"] = _PROBLEMS
        required.append("details")
    if details is not None:
        narrowed["details"] = {**reference(details.__name__), "description": details.__doc__}
        required.append("details")
    described = {
        name: {"description": field["description"]} | narrowed.get(name, field)
        for name, field in shape["properties"].items()
    }
    return {
        "title": kind.__name__,
        "description": kind.meaning(),
        "type": "object",
        "properties": described,
        "required": required,
    }


def _program_errors(idl: Idl) -> list[str]:
    framework = [*failure_names.ANCHOR.values(), *failure_names.SYSTEM.values()]
    names = [
        *(error.name for error in idl.errors),
        *(name for name, _ in framework),
        *failure_names.TRANSACTION,
        *failure_names.INSTRUCTION,
    ]
    return list(dict.fromkeys(names))
