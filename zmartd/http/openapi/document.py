"""The OpenAPI 3.1 document: everything that the operations say about themselves, in one standard form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from zmartd import __version__
from zmartd.chain.idl import Idl
from zmartd.errors import ZmartdError
from zmartd.http.errors.statuses import ErrorBody
from zmartd.http.kit.operation import Access, Operation, Raw, is_json
from zmartd.http.kit.path_variables import path_template
from zmartd.http.openapi import headers, parameters
from zmartd.http.openapi.declared_errors import error_schemas, refusals
from zmartd.http.openapi.schemas import Json, Schemas, reference

_JSON = "application/json"

_DESCRIPTION = """\
The off-chain half of a prediction market on Solana: what its markets are and were, what wallets hold in them,
and the transactions that wallets sign to take part.

* Amounts are decimal strings: lamports, or shares with nine decimals. Prices are numbers from 0 to 1, in SOL
  a share. Times are ISO 8601, UTC, with milliseconds.
* A market is named by its id, 64 hexadecimal digits, or by its address on the chain.
* What happened on the chain is `confirmed`, and `finalized` once no fork can take it back. What was sent and
  has not landed is `submitted` and in no list yet; `GET /api/transactions/{signature}` tells what becomes of
  it.
* Every error has the one shape `ErrorBody` and a stable `code`. Besides those that each operation lists, a
  path that does not exist answers 404 `route_not_found`, a method that a path does not have 405
  `method_not_allowed`, and a preflight from an origin that may not call the API 403 `cors_refused`.
* Reads answer HEAD as well as GET.
* Who has not signed in sees the wallets of those who trade, vote, hold or comment shortened to their ends.
  Those who propose, approve, resolve, dispute or cancel a market are named: they are part of it.
* Nothing is capped silently: a limit that is too high is an error.
"""

_TAGS = {
    "auth": "Sign In With Solana, and the sessions it gives.",
    "markets": "Markets: reading them, making them, moving them along.",
    "trades": "Quotes, and the transactions that carry them out.",
    "transactions": "Relaying what wallets have signed.",
    "votes": "Votes on proposed markets and on disputed outcomes.",
    "users": "What a wallet holds and who it is.",
    "discussions": "Comments on markets.",
    "realtime": "The WebSocket.",
    "machines": "For load balancers and Helius.",
    "documentation": "This document.",
}

_BEARER: Json = {"bearer": []}
_SIGNATURE: Json = {"walletSignature": []}
_SECURITY: dict[Access, list[Json]] = {
    Access.PUBLIC: [{}, _BEARER, _SIGNATURE],
    Access.WALLET: [_BEARER, _SIGNATURE],
    Access.OWNER: [_BEARER, _SIGNATURE],
    Access.SESSION: [_BEARER],
    Access.HELIUS: [{"heliusAuthorization": []}, {"heliusSignature": []}],
}
_SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token of a session: POST /api/auth/login.",
    },
    "walletSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Signature ...` of the earlier frontend. Accepted only where "
        "auth.legacy_signature_header is set, and never for what moves money.",
    },
    "heliusAuthorization": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The value that the webhook was registered with.",
    },
    "heliusSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "x-helius-signature",
        "description": "The HMAC-SHA256 of the body, in hexadecimal.",
    },
}


def openapi(operations: Sequence[Operation[Any]], idl: Idl) -> Json:
    """The document about `operations`; `idl` tells the errors of the program.

    Raises ValueError where two types have one name.
    """
    schemas = Schemas(
        [one.json_body for one in operations if one.json_body is not None],
        [
            *(kind for one in operations for kind in one.answers.values() if is_json(kind)),
            ErrorBody,
        ],
    )
    paths: dict[str, Json] = {}
    for operation in operations:
        path = paths.setdefault(path_template(operation.path), {})
        path[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zmartd",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": name, "description": text}
            for name, text in _TAGS.items()
            if any(operation.tag == name for operation in operations)
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.components | error_schemas(idl),
            "parameters": parameters.COMPONENTS,
            "headers": headers.COMPONENTS,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(operation: Operation[Any], schemas: Schemas) -> Json:
    entry: Json = {
        "operationId": _name(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters.parameters(operation),
        "security": _SECURITY[operation.access],
        "responses": _responses(operation, schemas),
    }
    if operation.handler.__doc__:
        entry["description"] = inspect.cleandoc(operation.handler.__doc__)
    if operation.json_body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": schemas.of(operation.json_body)}},
        }
    return entry


def _name(operation: Operation[Any]) -> str:
    """`getMarketsIdTrades`: the method and the path, which no other operation has together."""
    path = path_template(operation.path).removeprefix("/api")
    words = re.findall(r"[a-zA-Z0-9]+", path) or ["root"]
    if path != "/" and path.endswith("/"):
        words.append("slash")
    return operation.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _responses(operation: Operation[Any], schemas: Schemas) -> Json:
    errors = refusals(operation)
    return {
        str(status): _response(operation, status, errors.get(status, []), schemas)
        for status in sorted({*operation.answers, *errors})
    }


def _response(
    operation: Operation[Any], status: int, errors: Sequence[type[ZmartdError]], schemas: Schemas
) -> Json:
    answer = operation.answers.get(status)
    choices = [reference(kind.__name__) for kind in errors]
    if answer is not None and is_json(answer):
        choices.insert(0, schemas.of(answer))
    content: Json = {}
    if choices:
        content[_JSON] = {"schema": choices[0] if len(choices) == 1 else {"anyOf": choices}}
    if isinstance(answer, Raw):
        content[answer.media_type] = {"schema": {"type": "string"}}
    response: Json = {
        "description": _description(status, errors),
        "headers": headers.of(operation, status),
    }
    return response | {"content": content} if content else response


def _description(status: int, errors: Sequence[type[ZmartdError]]) -> str:
    phrase = HTTPStatus(status).phrase
    return f"{phrase}: {', '.join(kind.code for kind in errors)}" if errors else phrase
