from __future__ import annotations

from collections import Counter
from typing import Any, get_origin

import pytest
from aiohttp import web
from msgspec import Struct

from zmartd.chain.failures import ProgramRefused
from zmartd.chain.idl import default_idl
from zmartd.chain.transport import RpcUnavailable
from zmartd.errors import ZmartdError
from zmartd.http.errors.auth import BadToken, Unauthorized
from zmartd.http.errors.requests import NotYours, Problem
from zmartd.http.errors.statuses import error_body
from zmartd.http.kit.fields import Wallet
from zmartd.http.kit.operation import Access, NonJson, Operation, Quota, by_path
from zmartd.http.kit.path_variables import PATH_VARIABLES
from zmartd.http.openapi.declared_errors import declared_errors, told_errors
from zmartd.http.openapi.document import openapi
from zmartd.http.routes import OPERATIONS


class Said(Struct):
    words: str


async def speak(_: web.Request) -> web.Response:
    """Says it. Aloud."""
    return web.Response()


async def proof(_: web.Request) -> bytes:
    return b""


def operation(**changes: Any) -> Operation[Any]:
    given: dict[str, Any] = {
        "method": "POST",
        "path": "/api/things/{wallet}",
        "handler": speak,
        "summary": "Speak",
        "tag": "users",
        "access": Access.PUBLIC,
        "quota": Quota.SIGN_INS,
        "responses": {200: Said},
    }
    return Operation(**(given | changes))


def entry(one: Operation[Any]) -> Any:
    ((_, item),) = openapi([one], default_idl())["paths"].items()
    return item[one.method.lower()]


def test_an_operation_that_another_one_replaces_is_deprecated_and_says_which() -> None:
    told = entry(operation(replaced_by="sing"))
    assert told["deprecated"] is True
    assert told["description"] == "For earlier clients; new ones use `sing`.\n\nSays it. Aloud."
    assert "deprecated" not in entry(operation())


def test_what_replaces_a_deprecated_operation_is_one_that_is_not() -> None:
    current = {one.name for one in OPERATIONS if not one.replaced_by}
    replacing = {one.replaced_by for one in OPERATIONS if one.replaced_by}
    assert len(replacing) > 3
    assert replacing <= current


def test_no_new_answer_is_a_bare_array() -> None:
    bare = [one.name for one in OPERATIONS for kind in one.responses.values() if get_origin(kind) is tuple]
    assert {one.name for one in OPERATIONS if one.replaced_by} >= set(bare)


def schemas_of_errors() -> Any:
    return openapi([operation()], default_idl())["components"]["schemas"]


def codes(one: Operation[Any]) -> dict[int, set[str]]:
    return {status: {kind.code for kind in kinds} for status, kinds in declared_errors(one).items()}


def test_an_operation_is_named_for_its_handler_unless_it_has_a_name() -> None:
    assert entry(operation())["operationId"] == "speak"
    assert entry(operation(name="say_it_aloud"))["operationId"] == "say_it_aloud"


def test_an_operation_is_described_by_its_handler() -> None:
    assert entry(operation())["description"] == "Says it. Aloud."


def test_a_variable_of_the_path_has_its_meaning() -> None:
    wallet, *_ = entry(operation())["parameters"]
    assert wallet == {
        "name": "wallet",
        "in": "path",
        "required": True,
        "description": "a wallet's address, base58 of 32 bytes",
        "schema": Wallet.schema,
    }
    own, *_ = entry(operation(path="/api/{id:\\d+}", variables={"id": PATH_VARIABLES["wallet"]}))[
        "parameters"
    ]
    assert (own["name"], own["schema"]) == ("id", Wallet.schema)


def test_a_variable_without_a_meaning_is_refused() -> None:
    with pytest.raises(KeyError, match="planet"):
        openapi([operation(path="/api/{planet}")], default_idl())


def test_access_determines_the_accepted_credentials() -> None:
    def schemes(access: Access) -> list[str]:
        return [name for one in entry(operation(access=access))["security"] for name in one]

    public = openapi([operation(access=Access.PUBLIC)], default_idl())
    assert public["security"] == [{}, {"bearer": []}, {"walletSignature": []}]
    assert "security" not in entry(operation(access=Access.PUBLIC))
    assert schemes(Access.WALLET) == ["bearer", "walletSignature"]
    assert schemes(Access.SESSION) == ["bearer"]
    assert schemes(Access.OWNER) == schemes(Access.WALLET)
    for_helius = operation(access=Access.HELIUS, verify=proof, verified_body=Said)
    assert [name for one in entry(for_helius)["security"] for name in one] == [
        "heliusAuthorization",
        "heliusSignature",
    ]


def test_an_operation_with_a_body_has_the_errors_of_bodies() -> None:
    without = codes(operation(method="GET", path="/api/things"))
    assert without[400] == {"invalid_http", "invalid_request"}
    assert 413 not in without
    with_body = codes(operation(body=Said))
    assert with_body[400] == {"invalid_http", "invalid_json", "invalid_request"}
    assert (with_body[413], with_body[415]) == ({"body_too_large"}, {"unsupported_media_type"})
    unasked = codes(operation(body=None))
    assert (unasked[413], unasked[415]) == ({"body_too_large"}, {"unsupported_media_type"})


def test_a_declared_error_includes_its_subclasses() -> None:
    found = declared_errors(operation(access=Access.WALLET))
    assert {Unauthorized, BadToken} <= set(found[401])
    assert "auth_unavailable" in codes(operation(access=Access.WALLET))[503]
    assert 401 not in declared_errors(operation())
    assert declared_errors(operation(errors=(NotYours,)))[403] == [NotYours]


@pytest.mark.parametrize("kind", [NotYours, BadToken])
def test_an_errors_schema_names_it_as_its_body_does(kind: type[ZmartdError]) -> None:
    body = error_body(kind(), "request-1")
    schema = schemas_of_errors()[kind.__name__]
    named = {name: schema["properties"][name]["const"] for name in ("error", "code", "status")}
    assert named == {"error": body.error, "code": body.code, "status": body.status}
    assert schema["required"] == ["error", "code", "message", "status", "request_id"]
    assert "allOf" not in schema


def test_the_programs_errors_are_named() -> None:
    schemas = schemas_of_errors()
    names = schemas[ProgramRefused.__name__]["properties"]["code"]["enum"]
    assert {"slippage_exceeded", "program_insufficient_funds"} <= set(names)
    assert "result_with_negative_lamports" not in names
    invalid = schemas["InvalidRequest"]
    assert invalid["properties"]["details"]["items"] == {"$ref": f"#/components/schemas/{Problem.__name__}"}
    assert "details" in invalid["required"]


def test_a_code_belongs_to_one_error_and_is_listed_once() -> None:
    schemas = schemas_of_errors()
    fields = [schemas[kind.__name__]["properties"]["code"] for kind in told_errors()]
    told = Counter(code for field in fields for code in field.get("enum", [field.get("const")]))
    assert len(told) > 200
    assert [code for code, count in told.items() if count > 1] == []
    listed = [kind.code for kind in declared_errors(operation(errors=(RpcUnavailable,)))[503]]
    assert listed.count("rpc_unavailable") == 1


def test_a_response_that_is_not_json_has_its_media_type() -> None:
    response = entry(operation(responses={200: NonJson("text/html"), 304: None}))["responses"]
    assert response["200"]["content"] == {"text/html": {"schema": {"type": "string"}}}
    assert "content" not in response["304"]
    assert "503" not in response  # files need no database
    assert {"X-Request-Id", "ETag"} <= set(response["304"]["headers"])


def test_operations_on_one_path_stand_together_and_literals_come_first() -> None:
    paths = ["/api/markets/{id}", "/api/markets", "/api/markets/trending", "/api/markets/{id}/trades"]
    listed = by_path(tuple(operation(path=path) for path in [*paths, paths[0]]))
    assert [one.path for one in listed] == [paths[1], paths[2], paths[0], paths[0], paths[3]]


@pytest.mark.parametrize("keeps_answer", [True, False])
def test_a_response_that_is_kept_says_when_it_is_given_again(keeps_answer: bool) -> None:
    one = entry(operation(access=Access.SESSION, keeps_answer=keeps_answer))
    assert ("Idempotency-Replayed" in one["responses"]["200"]["headers"]) is keeps_answer
