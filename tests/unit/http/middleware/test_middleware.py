from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec import Meta, Struct
from pytest_aiohttp.plugin import AiohttpClient
from structlog.testing import capture_logs

from tests.integration.http.served import Client, Served, StandingClock
from zmartd.clock import SystemClock
from zmartd.config import AuthSettings, DatabaseSettings, ServerSettings
from zmartd.config_values import PostgresUrl, SharedSecret
from zmartd.errors import ZmartdError
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit import keys
from zmartd.http.kit.codec import decode_body, json_response, read_body, require_json
from zmartd.http.kit.fields import U64
from zmartd.http.kit.log_rate_limit import LINES_PER_SECOND
from zmartd.http.middleware import cors, unmatched
from zmartd.http.middleware.access_log import FLUSH_SECONDS, MAX_BUFFERED_LINES, MAX_PATH_LENGTH, AccessLog
from zmartd.http.middleware.chain import Pipeline
from zmartd.http.middleware.security_headers import HEADERS
from zmartd.log import describe, get_logger
from zmartd.store.markets import MarketNotFound, MarketReference
from zmartd.store.postgres.database import Database

NOWHERE = "postgresql://127.0.0.1:9/nowhere"
AUTH = AuthSettings(jwt_secret=SharedSecret("unit-tests-sign-nothing-with-this-"))

UPLOADING = web.AppKey("uploading", asyncio.Event)
"""Set when a body begins to be read."""


class Echo(Struct, frozen=True):
    amount: Annotated[U64, Meta(description="a whole number")]


class Forgotten(ZmartdError):
    """Nobody gave this error a status."""

    code = "forgotten"


async def echo(request: web.Request) -> web.Response:
    require_json(request)
    return json_response(decode_body(await read_body(request, 4_096), Echo))


async def probe(request: web.Request) -> web.Response:
    if request.query_string:
        raise MarketNotFound(MarketReference())
    get_logger("probe").info("probe.asked")
    return web.Response(headers={"Cache-Control": "max-age=5"})


async def upload(request: web.Request) -> web.Response:
    request.app[UPLOADING].set()
    return json_response({"bytes": len(await read_body(request, 4_096))})


async def missing(_: web.Request) -> web.Response:
    raise MarketNotFound(MarketReference())


async def forgotten(_: web.Request) -> web.Response:
    raise Forgotten("hunter2")


async def broken(_: web.Request) -> web.Response:
    raise RuntimeError("password=hunter2")


@pytest.fixture
def access_log() -> AccessLog:
    return AccessLog(SystemClock(), lambda: "generated-id", quiet_routes={"/probe"})


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, access_log: AccessLog) -> Client:
    app = web.Application()
    app[keys.SERVER] = ServerSettings(max_body_bytes=4_096)
    app[UPLOADING] = asyncio.Event()
    clock = SystemClock()
    database = Database(DatabaseSettings(url=PostgresUrl(NOWHERE)))  # nobody signs in
    sessions = Sessions(Tokens(AUTH, "unit tests", clock, str), Revocations(database, clock), clock)
    pipeline = Pipeline(clock, access_log, Authenticator(sessions, False, clock))
    wrap = pipeline.wrap
    routes = app.add_routes(
        [
            web.post("/echo", wrap(echo)),
            web.post("/upload", wrap(upload)),
            web.get("/missing", wrap(missing)),
            web.get("/probe", wrap(probe)),
            web.get("/forgotten", wrap(forgotten)),
            web.get("/broken", wrap(broken)),
        ]
    )
    unmatched.install(app, wrap, cors.install(app, routes, ["https://app.example"], wrap))
    return await aiohttp_client(Served(app))


async def error_of(response: Any) -> tuple[int, str, str]:
    body = await response.json()
    assert body["status"] == response.status
    assert body["request_id"] == response.headers["X-Request-Id"]
    return response.status, body["error"], body["code"]


async def test_an_error_is_flat_and_carries_the_request_id(client: Client) -> None:
    response = await client.get("/missing", headers={"X-Request-Id": "from-the-caller"})
    assert response.headers["X-Request-Id"] == "from-the-caller"
    assert await response.json() == {
        "error": "MarketNotFound",
        "code": "market_not_found",
        "message": "There is no such market; GET /api/markets lists those that there are.",
        "status": 404,
        "request_id": "from-the-caller",
    }


@pytest.mark.parametrize("request_id", ["short", "x" * 129, "in jected", "<script>alert</script>"])
async def test_an_invalid_request_id_is_replaced(client: Client, request_id: str) -> None:
    response = await client.get("/missing", headers={"X-Request-Id": request_id})
    assert response.headers["X-Request-Id"] == "generated-id"


@pytest.mark.parametrize("path", ["/broken", "/forgotten"])
async def test_an_unexpected_failure_is_logged_and_tells_the_caller_nothing(
    client: Client, access_log: AccessLog, path: str
) -> None:
    with capture_logs() as lines:
        response = await client.get(path)
        access_log.flush()
    assert await error_of(response) == (500, "Unexpected", "internal_error")
    assert "hunter2" not in await response.text()
    assert [line["event"] for line in lines] == ["http.failed", "http.request"]


async def test_an_unknown_path_is_404_and_an_unknown_method_405(client: Client) -> None:
    assert await error_of(await client.get("/nowhere")) == (404, "RouteNotFound", "route_not_found")
    response = await client.delete("/echo")
    assert await error_of(response) == (405, "MethodNotAllowed", "method_not_allowed")
    assert response.headers["Allow"] == "OPTIONS,POST"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 4_000, b"NaN", b"[1]", b'"x"', b"9" * 4_096])
async def test_a_body_that_is_not_a_json_object_is_a_bad_request(client: Client, body: bytes) -> None:
    response = await client.post("/echo", data=body, headers={"Content-Type": "application/json"})
    assert await error_of(response) == (400, "InvalidJson", "invalid_json")


async def test_invalid_fields_are_listed(client: Client) -> None:
    response = await client.post("/echo", json={"amount": "ten"})
    assert await error_of(response) == (400, "InvalidRequest", "invalid_request")
    body = await response.json()
    assert body["message"] == "amount must be a whole number."
    assert body["details"] == [{"field": "amount", "message": "must be a whole number"}]


async def test_a_body_of_another_type_is_not_read(client: Client) -> None:
    response = await client.post("/echo", data="amount=1", headers={"Content-Type": "text/plain"})
    assert await error_of(response) == (415, "UnsupportedMediaType", "unsupported_media_type")


async def test_a_body_with_a_wrong_content_encoding_is_a_bad_request(client: Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = await client.post("/echo", data=b"not gzip at all", headers=headers)
    assert await error_of(response) == (400, "InvalidHttp", "invalid_http")


async def test_a_body_that_ends_early_is_not_logged_as_an_error(
    client: Client, access_log: AccessLog
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    with capture_logs() as lines:
        async with asyncio.timeout(120):
            writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nthe beginning")
            await client.app[UPLOADING].wait()
            writer.transport.abort()
            while not lines:
                await asyncio.sleep(0)
                access_log.flush()
    assert [(line["event"], line["status"]) for line in lines] == [("http.request", 400)]


async def test_a_large_body_is_refused_with_and_without_content_length(client: Client) -> None:
    async def chunks() -> Any:
        for _ in range(8):
            yield b" " * 1_024

    for body in (b" " * 8_192, chunks()):
        response = await client.post("/echo", data=body, headers={"Content-Type": "application/json"})
        assert await error_of(response) == (413, "BodyTooLarge", "body_too_large")


async def test_every_response_has_the_security_headers(client: Client) -> None:
    for response in (await client.get("/missing"), await client.get("/nowhere")):
        for name, value in HEADERS.items():
            assert response.headers[name] == value


async def test_browsers_of_configured_origins_may_call(client: Client, access_log: AccessLog) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with capture_logs() as lines:
        for path in ("/echo", "/nowhere"):
            preflight = await client.options(path, headers=asked)
            assert preflight.status == 200
        access_log.flush()
    assert [line["route"] for line in lines] == ["/echo", "unmatched"], "each is logged once"
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
    response = await client.get("/missing", headers={"Origin": "https://app.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_browsers_of_other_origins_may_not(client: Client) -> None:
    response = await client.options(
        "/echo", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert await error_of(response) == (403, "CorsRefused", "cors_refused")
    response = await client.get("/missing", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_responses_get_their_cors_headers_from_nobody_else() -> None:
    app = web.Application()
    routes = app.add_routes([web.get("/probe", probe)])
    assert cors.install(app, routes, ["https://app.example"], lambda handler: handler) is not None
    assert (list(app.on_response_prepare), list(app.middlewares)) == ([], [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/nowhere", 404),
        ("DELETE", "/echo", 405),
        ("POST", "/upload", 413),
        ("GET", "/missing", 404),
        ("GET", "/broken", 500),
        ("GET", "/probe", 200),
    ],
)
async def test_every_answer_can_be_read_by_pages_that_may_call(
    client: Client, method: str, path: str, status: int
) -> None:
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
        answer = await client.request(method, path, data=b"x" * 5_000, headers={"Origin": origin})
        assert answer.status == status
        assert ("Access-Control-Allow-Origin" in answer.headers) == allowed
        if allowed:
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            exposed = set(answer.headers["Access-Control-Expose-Headers"].split(","))
            assert {"X-Request-Id", "ETag", "Retry-After", "Allow", "RateLimit-Reset"} <= exposed
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/echo"), ("POST", "/nowhere"), ("GET", "/probe")])
async def test_a_preflight_lets_a_refusal_be_read(client: Client, method: str, path: str) -> None:
    for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        preflight = await client.options(path, headers=asked)
        assert preflight.status == status
        if status == 200:
            assert preflight.headers["Access-Control-Allow-Origin"] == origin
            assert preflight.headers["Access-Control-Allow-Methods"] == method


async def test_pages_may_send_what_tracing_and_caching_add(client: Client) -> None:
    names = (
        "authorization,baggage,content-type,idempotency-key,if-none-match,sentry-trace,traceparent,tracestate"
    )
    for asked in (names, "Traceparent, X-Request-ID", "x-requested-with , cache-control"):
        assert await allowed_of(client, asked) == {name.strip().lower() for name in asked.split(",")}


async def test_a_header_that_pages_may_not_send_is_left_out_and_the_rest_allowed(client: Client) -> None:
    assert await allowed_of(client, "x-evil,authorization") == {"authorization"}
    assert await allowed_of(client, "x-evil") == set()
    assert await allowed_of(client, ",,;\t,authorization;x") == set()


async def allowed_of(client: Client, asked: str) -> set[str]:
    """The headers that a preflight allows of those that it asks for."""
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    preflight = await client.options("/echo", headers=headers)
    assert preflight.status == 200
    allowed = preflight.headers.get("Access-Control-Allow-Headers", "")
    return {name.lower() for name in allowed.split(",") if name}


async def test_options_without_an_origin_lists_the_methods(client: Client) -> None:
    response = await client.options("/missing")
    assert (response.status, response.headers["Allow"]) == (204, "GET,HEAD,OPTIONS")


async def test_the_access_log_names_the_route_and_its_status(client: Client, access_log: AccessLog) -> None:
    with capture_logs() as lines:
        await client.get("/missing?token=secret")
        access_log.flush()
    line = lines[-1]
    assert (line["event"], line["route"], line["status"]) == ("http.request", "/missing", 404)
    assert "secret" not in str(lines)


async def test_quiet_routes_are_logged_at_info_only_when_they_fail(
    client: Client, access_log: AccessLog
) -> None:
    with capture_logs() as lines:
        await client.get("/probe")
        await client.get("/probe?fail")
        access_log.flush()
    told = [(line["status"], line["log_level"]) for line in lines if line["event"] == "http.request"]
    assert told == [(200, "debug"), (404, "info")]


async def test_a_handlers_own_header_wins(client: Client) -> None:
    assert (await client.get("/probe")).headers.getall("Cache-Control") == ["max-age=5"]


async def test_every_line_of_a_request_carries_its_id(client: Client, access_log: AccessLog) -> None:
    with capture_logs(processors=[describe]) as lines:
        await client.get("/probe?fail", headers={"X-Request-Id": "from-the-caller"})
        await client.get("/probe", headers={"X-Request-Id": "from-another"})
        get_logger("test").info("test.outside")
        access_log.flush()
    assert [(line["event"], line.get("request_id")) for line in lines] == [
        ("probe.asked", "from-another"),
        ("http.request", "from-another"),
        ("test.outside", None),
        ("http.request", "from-the-caller"),
    ]


async def test_buffered_lines_are_written_after_a_moment(client: Client) -> None:
    with capture_logs() as lines:
        await client.get("/missing")
        async with asyncio.timeout(120):
            while not lines:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(FLUSH_SECONDS / 5)
    assert [line["event"] for line in lines] == ["http.request"]


async def test_a_full_buffer_is_written_and_the_rest_at_shutdown(
    client: Client, access_log: AccessLog
) -> None:
    request = make_mocked_request("GET", "/missing", app=client.app)
    with capture_logs() as lines:
        for number in range(MAX_BUFFERED_LINES + 1):
            access_log.record(request, f"request-{number}", 200, 0.001)
        assert len(lines) == MAX_BUFFERED_LINES
        await access_log.close(client.app)
    assert [line["request_id"] for line in lines] == [
        f"request-{number}" for number in range(MAX_BUFFERED_LINES + 1)
    ]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_log_lines_about_refusals_are_limited(client: Client, method: str) -> None:
    clock = StandingClock()
    access_log = AccessLog(clock)
    status = 429 if method == "GET" else 204
    request = make_mocked_request(method, "/" + "x" * 8_000, app=client.app)
    with capture_logs() as lines:
        for _ in range(LINES_PER_SECOND + 50):
            access_log.record(request, "id", status, 0.1)
        clock.seconds += 1
        access_log.record(request, "id", status, 0.1)
        access_log.flush()
    told = [line for line in lines if line["event"] == "http.request"]
    assert len(told) == LINES_PER_SECOND + 1
    assert {len(line["path"]) for line in told} == {MAX_PATH_LENGTH}
    assert [line["requests"] for line in lines if line["event"] == "http.requests_not_logged"] == [50]
