"""An operation's declaration is what happens to its requests, in an application that has nothing else."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from msgspec import Meta, Struct
from pytest_aiohttp.plugin import AiohttpClient

from zmartd.clock import SystemClock
from zmartd.config import ServerSettings
from zmartd.http.kit import keys
from zmartd.http.kit.dispatch import add_operation
from zmartd.http.kit.operation import Access, Call, JsonResponse, Operation, Quota
from zmartd.http.middleware import unmatched
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import Pipeline
from zmartd.http.response_cache.policies import CacheForAllMarkets

MARKET = "AB" * 32
Client = TestClient[web.Request, Any]


class Words(Struct, frozen=True):
    text: Annotated[str, Meta(max_length=10, description="a text of at most 10 characters")]


class Said(Struct, frozen=True):
    text: str


async def say(call: Call[Words]) -> Said:
    return Said(call.input.text)


async def repeat(call: Call[None]) -> JsonResponse:
    return JsonResponse(Said(call.path["id"]), 202, {"X-Said": "twice"})


async def whisper(call: Call[None]) -> Said:
    return Said(call.wallet)


async def shout(call: Call[bytes]) -> Said:
    return Said(call.input.decode().upper())


async def proof(_: web.Request) -> bytes:
    return b"proved"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/said",
        handler=say,
        summary="",
        tag="",
        access=Access.PUBLIC,
        query=Words,
        responses={200: Said},
    ),
    Operation(
        method="POST",
        path="/say",
        handler=say,
        summary="",
        tag="",
        access=Access.PUBLIC,
        quota=Quota.SIGN_INS,
        body=Words,
        max_body_bytes=40,
        responses={201: Said, 200: Said},
    ),
    Operation(
        method="POST",
        path="/repeat/{id}",
        handler=repeat,
        summary="",
        tag="",
        access=Access.PUBLIC,
        quota=Quota.SIGN_INS,
        responses={202: Said},
    ),
    Operation(
        method="GET",
        path="/whisper/{wallet}",
        handler=whisper,
        summary="",
        tag="",
        responses={200: Said},
        access=Access.OWNER,
    ),
    Operation(
        method="POST",
        path="/shout",
        handler=shout,
        summary="",
        tag="",
        verify=proof,
        responses={200: Said},
        access=Access.HELIUS,
    ),
)


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    clock = SystemClock()
    pipeline = Pipeline(clock, AccessLog(clock))
    app = web.Application()
    app[keys.SERVER] = ServerSettings()
    for operation in OPERATIONS:
        add_operation(app, operation, pipeline.wrap)
    unmatched.install(app, pipeline.wrap)
    return await aiohttp_client(app)


async def asked(client: Client, method: str, path: str, **request: Any) -> tuple[int, Any]:
    response = await client.request(method, path, **request)
    assert response.headers["X-Request-Id"]
    body = await response.json() if response.content_type == "application/json" else None
    return response.status, body.get("code", body) if body else body


async def test_a_handler_gets_what_is_declared(client: Client) -> None:
    assert await asked(client, "GET", "/said?text=so") == (200, {"text": "so"})
    assert await asked(client, "POST", "/say", json={"text": "so"}) == (201, {"text": "so"})
    assert await asked(client, "POST", f"/repeat/{MARKET}") == (202, {"text": MARKET.lower()})
    assert await asked(client, "POST", "/shout", data=b"anything") == (200, {"text": "PROVED"})
    assert (await client.head("/said?text=so")).status == 200


async def test_a_handler_gets_nothing_else(client: Client) -> None:
    assert await asked(client, "GET", "/said?text=much+too+long") == (400, "invalid_request")
    assert await asked(client, "POST", "/say", json={"text": 1}) == (400, "invalid_request")
    assert await asked(client, "POST", "/say", data=b"{", headers={"Content-Type": "application/json"}) == (
        400,
        "invalid_json",
    )
    assert await asked(client, "POST", "/say", data=b"{}") == (415, "unsupported_media_type")
    assert await asked(client, "POST", "/say", json={"text": "so", "more": "x" * 40}) == (
        413,
        "body_too_large",
    )
    assert await asked(client, "POST", "/repeat/neither") == (404, "market_not_found")
    assert await asked(client, "POST", f"/repeat/{MARKET}", json=[]) == (400, "invalid_json")
    assert await asked(client, "GET", "/whisper/nobody") == (400, "invalid_request")
    assert await asked(client, "GET", "/whisper/11111111111111111111111111111111") == (401, "auth_missing")


async def test_an_unknown_path_or_method_gets_an_error_of_the_api(client: Client) -> None:
    assert await asked(client, "GET", "/nowhere") == (404, "route_not_found")
    assert await asked(client, "PUT", "/say") == (405, "method_not_allowed")
    assert (await client.put("/say")).headers["Allow"] == "POST"
    assert (await client.put("/said")).headers["Allow"] == "GET,HEAD"
    for path in ("/said?text=so", "/nowhere"):
        assert await asked(client, "GET", path, headers={"Expect": "a miracle"}) == (400, "invalid_http")


async def test_a_body_behind_expect_100_continue_is_asked_for(client: Client) -> None:
    assert await asked(client, "POST", "/say", json={"text": "so"}, expect100=True) == (201, {"text": "so"})


@pytest.mark.parametrize(
    "declared",
    [
        {"query": Words, "body": Words},
        {"access": Access.HELIUS},
        {"verify": proof},
        {"access": Access.PUBLIC},
        {"access": Access.OWNER},
        {"method": "PUT"},
        {"method": "GET", "body": Words},
        {"cache": CacheForAllMarkets()},
        {"access": Access.PUBLIC, "quota": Quota.SIGN_INS, "cache": CacheForAllMarkets()},
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declared: dict[str, Any]) -> None:
    whole: dict[str, Any] = {
        "method": "POST",
        "path": "/say",
        "handler": say,
        "summary": "",
        "tag": "",
        "access": Access.SESSION,
        "responses": {200: Said},
    }
    Operation(**whole)
    with pytest.raises(TypeError, match="/say"):
        Operation(**(whole | declared))


def test_who_may_call_an_operation_is_always_said() -> None:
    with pytest.raises(TypeError, match="access"):
        Operation(  # type: ignore[call-arg]  # that is what is tested
            method="GET", path="/say", handler=say, summary="", tag="", responses={200: Said}
        )
