"""What an operation takes beside its body: variables of its path, its query string, headers."""

from __future__ import annotations

from typing import Any

from zmartd.http.kit.operation import Operation
from zmartd.http.kit.path_variables import PathVariable
from zmartd.http.openapi.schemas import Json, query_fields

_REQUEST_ID: Json = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "a name for this request of the caller's own, under which the daemon logs it, too",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{8,128}$"},
}

_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a name of the caller's own for what is to be done: sent again within a day, the same "
    "request is answered as it was the first time, with the header Idempotency-Replayed",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}

COMPONENTS: Json = {"requestId": _REQUEST_ID, "idempotencyKey": _IDEMPOTENCY_KEY}
"""Parameters that many operations have."""


def parameters(operation: Operation[Any]) -> list[Json]:
    """The parameters of `operation`."""
    return [
        *(_variable(name, variable) for name, variable in operation.path_variables.items()),
        *_query(operation),
        {"$ref": "#/components/parameters/requestId"},
        *([{"$ref": "#/components/parameters/idempotencyKey"}] if operation.takes_idempotency_key else []),
    ]


def _variable(name: str, variable: PathVariable) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": variable.rule,
        "schema": variable.kind.schema,
    }


def _query(operation: Operation[Any]) -> list[Json]:
    if operation.query is None:
        return []
    return [
        {
            "name": name,
            "in": "query",
            "required": required,
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, required, schema in query_fields(operation.query)
    ]
