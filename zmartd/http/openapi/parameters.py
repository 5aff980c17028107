"""What an operation takes beside its body: variables of its path, its query string, headers."""

from __future__ import annotations

import re

from zmartd.http.kit.fields import MarketRef, Wallet
from zmartd.http.kit.operation import Operation, takes_idempotency_key
from zmartd.http.openapi.schemas import Json, query_fields

_VARIABLE = re.compile(r"\{([^}:]+)(?::[^}]*)?\}")

_VARIABLES: dict[str, Json] = {
    "id": {"description": "a market's id or address", "schema": MarketRef.schema},
    "wallet": {"description": "a wallet's address", "schema": Wallet.schema},
    "signature": {
        "description": "a transaction's signature, base58 of 64 bytes",
        "schema": {"type": "string", "pattern": "^[1-9A-HJ-NP-Za-km-z]{64,88}$"},
    },
}

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


def path_template(path: str) -> str:
    """aiohttp's path as OpenAPI writes it."""
    return _VARIABLE.sub(r"{\1}", path)


def parameters(operation: Operation) -> list[Json]:
    """The parameters of `operation`. Raises KeyError for a variable that nobody has given a meaning."""
    return [
        *(_variable(operation, name) for name in _VARIABLE.findall(operation.path)),
        *_query(operation),
        {"$ref": "#/components/parameters/requestId"},
        *([{"$ref": "#/components/parameters/idempotencyKey"}] if takes_idempotency_key(operation) else []),
    ]


def _variable(operation: Operation, name: str) -> Json:
    special = operation.variables.get(name)
    if special is not None:
        meaning: Json = {"description": (special.__doc__ or "").rstrip("."), "schema": special.schema}
    else:
        meaning = _VARIABLES[name]
    return {"name": name, "in": "path", "required": True, **meaning}


def _query(operation: Operation) -> list[Json]:
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
