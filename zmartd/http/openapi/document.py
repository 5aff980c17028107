"""Makes the OpenAPI 3.1 document from the declarations of the operations."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from zmartd import __version__
from zmartd.chain.idl import Idl
from zmartd.errors import ZmartdError
from zmartd.http.errors.statuses import ErrorBody
from zmartd.http.kit.exports import CSV, JSON_LINES, csv_columns
from zmartd.http.kit.operation import Access, Export, NonJson, Operation, is_json
from zmartd.http.kit.path_variables import PathVariable, path_template
from zmartd.http.openapi import event_schemas, headers
from zmartd.http.openapi.declared_errors import declared_errors, error_schemas, told_details, told_errors
from zmartd.http.openapi.examples import EXAMPLES
from zmartd.http.openapi.recorded import recorded
from zmartd.http.openapi.schemas import Json, Schemas, query_fields, reference

_JSON = "application/json"

_DESCRIPTION = """\
The off-chain half of a prediction market on Solana: its markets and their history, what wallets hold in them,
and the transactions that wallets sign to take part.

* Sign in: `GET /api/auth/nonce?wallet=ADDRESS` has a `message`; the wallet signs its UTF-8 bytes;
  `POST /api/auth/login` gives the `token` for `Authorization: Bearer <token>`.
* What changes the chain takes three steps. An operation answers with an unsigned `transaction`, which has
  been simulated; the wallet signs it; `POST /api/transactions` sends it, a trade with the `protection` of its
  quote.
* [/llms.txt](/llms.txt) says on one page what there is, [/docs/websocket](/docs/websocket) what the WebSocket
  tells as it happens, and [/docs/guide](/docs/guide) how all of it is used and run.
* Amounts are decimal strings: lamports, or shares with nine decimals. Prices are numbers from 0 to 1, in SOL
  a share. Times are ISO 8601, UTC, with milliseconds.
* Name a market by its id, 64 hexadecimal digits, or by its address on the chain.
* A transaction that was sent is `submitted`, and in no list yet. It is `confirmed` when a supermajority of
  the stake has voted for its block, and its `commitment` is `finalized` when no fork can remove it any more.
  `GET /api/transactions/{signature}` returns its state.
* Each field of a request also goes by its name in camelCase. The names in this document take precedence.
* Every error has the form of `ErrorBody` and a stable `code`. Each code belongs to one schema, which says
  what its `details` are. `ProgramRefused` has the codes of all that the program or the chain refuses.
  Besides the errors that each operation lists, a path that does not exist gets 404 `route_not_found`, a
  method that a path does not have 405 `method_not_allowed`, and a preflight from an origin that may not call
  the API 403 `cors_refused`.
* One thing has one name in all answers. Fields and operations for earlier clients are deprecated, and say
  which other one takes their place. The fields of the program's events have the program's own names.
* Times on the chain and deadlines are by the chain's clock, `chain_time` of `GET /api/protocol`. Sessions,
  comments and what else the chain does not know are by the server's clock. Each field says which it is.
* Every GET operation also accepts HEAD.
* Lists of trades and positions also come as `text/csv` or `application/x-ndjson`, where Accept prefers one of
  these. Without a limit they have 1000 rows then, and X-Next-Cursor is the cursor of the rest.
* Anonymous callers see the wallets of traders, voters, holders and commenters shortened to the first 4
  characters, an ellipsis and the last 4. Wallets that propose, approve, resolve, dispute or cancel a market
  are always shown whole.
* A limit that is too high is an error: the API never lowers it silently. So is a query parameter that an
  operation does not have, or that is given twice.
"""

_TAGS = {
    "protocol": "The rules of the game, and whether the index equals the chain.",
    "auth": "Sign In With Solana, and sessions.",
    "markets": "Read, create and advance markets.",
    "trades": "Quotes, and the transactions to trade with.",
    "transactions": "Relay signed transactions.",
    "admin": "What awaits an admin.",
    "votes": "Votes on proposed markets and on disputed outcomes.",
    "users": "Positions and profiles of wallets.",
    "discussions": "Comments on markets.",
    "realtime": "The WebSocket.",
    "machines": "For load balancers, and for Helius.",
    "documentation": "This document.",
}

_BEARER: Json = {"bearer": []}
_SIGNATURE: Json = {"walletSignature": []}
_OPTIONAL: list[Json] = [{}, _BEARER, _SIGNATURE]
"""Of public operations, as the document's default: on an operation, openapi-python-client would demand it."""
_SECURITY: dict[Access, list[Json]] = {
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
        "description": "The token of a session, from POST /api/auth/login.",
    },
    "walletSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The `Signature ...` header of the earlier frontend. Accepted only where the setting "
        "auth.legacy_signature_header is on, and never for what moves money.",
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

_REQUEST_ID: Json = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "an id for this request of the client's own, which the daemon logs as well",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{8,128}$"},
}

_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a key of the client's own for this write: what was done gets the same response when the "
    "same request is sent again within a day, with the header Idempotency-Replayed. A refusal is made anew, "
    "and so is a transaction to sign once the chain is above its last_valid_block_height; but not a trade, "
    "which may have landed: that gets 409 quote_expired",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}

_PARAMETERS: Json = {"requestId": _REQUEST_ID, "idempotencyKey": _IDEMPOTENCY_KEY}
"""Parameters of many operations."""


def openapi(operations: Sequence[Operation[Any]], idl: Idl) -> Json:
    """The document about `operations`. The errors of the program are those of `idl`.

    Raises ValueError where two types have the same name.
    """
    schemas = Schemas(
        [one.json_body for one in operations if one.json_body is not None],
        [
            *(kind for one in operations for kind in one.responses.values() if is_json(kind)),
            *(kind for kind in map(told_details, told_errors()) if kind is not None),
            ErrorBody,
        ],
    )
    components = schemas.components
    if event_schemas.TRAIL_EVENT in components:
        components |= event_schemas.of_trails(components[event_schemas.TRAIL_EVENT])
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
        "security": _OPTIONAL,
        "tags": [
            {"name": name, "description": text}
            for name, text in _TAGS.items()
            if any(operation.tag == name for operation in operations)
        ],
        "paths": paths,
        "components": {
            "schemas": {
                **components,
                **event_schemas.of_transactions(),
                **error_schemas(idl, components[ErrorBody.__name__]),
            },
            "parameters": _PARAMETERS,
            "headers": headers.COMPONENTS,
            "examples": {kind: {"value": body} for kind, body in recorded().errors.items()},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(operation: Operation[Any], schemas: Schemas) -> Json:
    entry: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
    }
    if operation.access is not Access.PUBLIC:
        entry["security"] = _SECURITY[operation.access]
    if operation.handler.__doc__:
        entry["description"] = inspect.cleandoc(operation.handler.__doc__)
    if operation.replaced_by:
        entry["deprecated"] = True
        paragraphs = (
            f"For earlier clients; new ones use `{operation.replaced_by}`.",
            entry.get("description"),
        )
        entry["description"] = "\n\n".join(filter(None, paragraphs))
    if operation.json_body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {_JSON: _request(operation, schemas)},
        }
    return entry


def _request(operation: Operation[Any], schemas: Schemas) -> Json:
    request: Json = {"schema": schemas.of(operation.json_body)}
    examples = EXAMPLES.get(operation.name, {})
    if examples:
        request["examples"] = {title: {"value": body} for title, body in examples.items()}
    return request


def _parameters(operation: Operation[Any]) -> list[Json]:
    return [
        *(_path_parameter(name, variable) for name, variable in operation.path_variables.items()),
        *_query_parameters(operation),
        {"$ref": "#/components/parameters/requestId"},
        *([{"$ref": "#/components/parameters/idempotencyKey"}] if operation.takes_idempotency_key else []),
    ]


def _path_parameter(name: str, variable: PathVariable) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": variable.rule,
        "schema": variable.kind.schema,
    }


def _query_parameters(operation: Operation[Any]) -> list[Json]:
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


def _responses(operation: Operation[Any], schemas: Schemas) -> Json:
    errors = declared_errors(operation)
    return {
        str(status): _response(operation, status, errors.get(status, []), schemas)
        for status in sorted({*operation.responses, *errors})
    }


def _response(
    operation: Operation[Any], status: int, errors: Sequence[type[ZmartdError]], schemas: Schemas
) -> Json:
    body = operation.responses.get(status)
    choices = [reference(kind.__name__) for kind in errors]
    if is_json(body):
        choices.insert(0, schemas.of(body))
    content: Json = {}
    if choices:
        content[_JSON] = {"schema": choices[0] if len(choices) == 1 else {"anyOf": choices}}
        if examples := _examples(operation, status, errors):
            content[_JSON]["examples"] = examples
    if isinstance(body, NonJson):
        content |= {kind: {"schema": {"type": "string"}} for kind in (body.media_type, *body.others)}
    if operation.export is not None and status == operation.default_status:
        content |= _exported(operation.export)
    response: Json = {
        "description": _description(status, errors),
        "headers": headers.of(operation, status),
    }
    return response | {"content": content} if content else response


def _examples(operation: Operation[Any], status: int, errors: Sequence[type[ZmartdError]]) -> Json:
    """The recorded answer; of errors the operation's own, or else the first that was recorded."""
    answer = recorded().answers.get(operation.name, {}).get(status)
    if answer is not None:
        return {"answer": {"value": answer}}
    known = [kind.__name__ for kind in errors if kind.__name__ in recorded().errors]
    own = {kind.__name__ for kind in operation.errors}
    shown = [name for name in known if name in own] or known[:1]
    return {name: {"$ref": f"#/components/examples/{name}"} for name in shown}


def _exported(export: Export[Any]) -> Json:
    columns = ", ".join("_".join(path) for path in csv_columns(export.row))
    texts = {
        CSV: f"RFC 4180, with a line of headers: {columns}. An empty cell is null; a text that spreadsheets "
        "would take for a formula begins with an apostrophe",
        JSON_LINES: f"a {export.row.__name__} as JSON on each line",
    }
    return {kind: {"schema": {"type": "string", "description": text}} for kind, text in texts.items()}


def _description(status: int, errors: Sequence[type[ZmartdError]]) -> str:
    phrase = HTTPStatus(status).phrase
    return f"{phrase}: {', '.join(kind.code for kind in errors)}" if errors else phrase
