"""The errors that each operation may respond with, and their schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import UNSET

from zmartd.chain.failures import ProgramRefused, refusal_names
from zmartd.chain.idl import Idl
from zmartd.errors import ZmartdError, details_type
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
from zmartd.http.errors.statuses import STATUS, named_by, program_code, sends_details, status_of
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

_PROBLEMS: Json = {
    "type": "array",
    "items": reference(Problem.__name__),
    "minItems": 1,
    "description": "Every invalid field of the request.",
}


def declared_errors(operation: Operation[Any]) -> dict[int, list[type[ZmartdError]]]:
    """The errors that `operation` may respond with, by status, each list sorted by code, each code once."""
    by_status: dict[int, list[type[ZmartdError]]] = {}
    for kind in sorted(told_kinds(_error_kinds(operation)), key=lambda kind: (status_of(kind), kind.code)):
        by_status.setdefault(status_of(kind), []).append(kind)
    return by_status


def told_errors() -> list[type[ZmartdError]]:
    """Every error that a caller can get, sorted by name, each code once."""
    return sorted(told_kinds(STATUS), key=lambda kind: kind.__name__)


def told_kinds(declared: Iterable[type[ZmartdError]]) -> set[type[ZmartdError]]:
    """The errors that callers can get of those declared, each code once."""
    return {named_by(one) for kind in declared for one in _with_subclasses(kind)}


def told_details(kind: type[ZmartdError]) -> Any:
    """The type of the details that callers get of `kind`; None where they get none."""
    return details_type(kind) if sends_details(kind) else None


def error_schemas(idl: Idl, shape: Json) -> Json:
    """A schema for each error, under the name of its class. `shape` is the schema of every error."""
    return {kind.__name__: _schema(kind, idl, shape) for kind in told_errors()}


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


def _schema(kind: type[ZmartdError], idl: Idl, shape: Json) -> Json:
    """`shape` narrowed to one error, whole, because generators cannot combine two schemas of a field."""
    narrowed: Json = {"status": {"const": status_of(kind)}}
    required = list(shape["required"])
    details = told_details(kind)
    if issubclass(kind, ProgramRefused):
        names = refusal_names(idl)
        narrowed["error"] = {"type": "string", "examples": names}
        narrowed["code"] = {
            "type": "string",
            "enum": [program_code(name) for name in names],
            "description": "The name of the error of the program or the chain, in snake_case; with "
            "`program_` in front where an error of this API has that code; `unknown_error` for a name that "
            "only a newer node has.",
        }
    else:
        narrowed |= {"error": {"const": kind.__name__}, "code": {"const": kind.code}}
    if issubclass(kind, InvalidRequest):
        narrowed["details"] = _PROBLEMS
        required.append("details")
    elif details is not None:
        narrowed["details"] = {**reference(details.__name__), "description": cleandoc(details.__doc__ or "")}
        if any(field.default is not UNSET for field in msgspec.structs.fields(details)):
            required.append("details")
    described = {
        name: {"description": field["description"]} | narrowed.get(name, field)
        for name, field in shape["properties"].items()
        if name != "details" or details is not None
    }
    return {
        "title": kind.__name__,
        "description": kind.meaning(),
        "type": "object",
        "properties": described,
        "required": required,
    }
