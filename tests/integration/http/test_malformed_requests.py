"""What never reaches the application, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.integration.http.served import StandingClock, served_by
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.log_rate_limit import LINES_PER_SECOND
from zmartd.http.middleware.security_headers import HEADERS

HEAD = b"Host: localhost\r\nConnection: close\r\n"


async def answer(request: web.Request) -> web.Response:
    return json_response({"path": request.path})


async def broken(_: web.Request) -> web.Response:
    raise RuntimeError("password=hunter2")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def port(clock: StandingClock) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.get("/", answer), web.post("/", answer), web.get("/broken", broken)])
    runner = served_by(app, clock=clock, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def send(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these bytes."""
    async with asyncio.timeout(120):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answered = await reader.read()
        writer.close()
    head, _, body = answered.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /?q=" + b"secret" * 2_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer " + b"secret" * 2_000 + b"\r\n\r\n",
        b"secret / HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/9.9\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\nsecret\x00: 1\r\n" + HEAD + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: secret\r\n\r\n",
        b"\x16\x03\x01secret\r\n\r\n",
    ],
    ids=["long line", "long header", "method", "version", "header", "length", "tls"],
)
async def test_what_is_not_http_is_told_so_in_the_one_shape_and_not_repeated(
    port: int, request_bytes: bytes
) -> None:
    with capture_logs() as lines:
        status, headers, body = await send(port, request_bytes)
    told = json.loads(body)
    assert (status, told["code"], told["status"]) == (400, "invalid_http", 400)
    assert headers["X-Request-Id"] == told["request_id"]
    assert HEADERS.items() <= headers.items()
    assert b"secret" not in body
    assert [(line["event"], line["log_level"]) for line in lines] == [("http.malformed", "info")]
    assert "secret" not in str(lines)


async def test_what_is_not_http_fills_no_log(clock: StandingClock, port: int) -> None:
    with capture_logs() as lines:
        for _ in range(LINES_PER_SECOND + 5):
            await send(port, b"secret\r\n\r\n")
        assert len(lines) == LINES_PER_SECOND
        clock.seconds += 1
        await send(port, b"secret\r\n\r\n")
    assert [line["not_logged"] for line in lines if line["not_logged"]] == [5]


async def test_a_line_that_is_too_long_is_told_how_long_it_may_be(port: int) -> None:
    _, _, body = await send(port, b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert "8190 bytes" in json.loads(body)["message"]


@pytest.mark.parametrize("first", [b"OPTIONS * ", b"GET * ", b"CONNECT a:1 "])
async def test_a_target_without_a_path_is_refused_in_the_one_shape(port: int, first: bytes) -> None:
    status, _, body = await send(port, first + b"HTTP/1.1\r\n" + HEAD + b"\r\n")
    told = json.loads(body)
    assert (status, told["code"]) == (400, "invalid_http")
    assert "begin it with a slash" in told["message"]


async def test_a_whole_url_is_a_target_too(port: int) -> None:
    status, _, body = await send(port, b"GET http://localhost/ HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, json.loads(body)) == (200, {"path": "/"})


@pytest.mark.parametrize(("more", "expected"), [(62, 200), (63, 400)])
async def test_who_sends_too_many_headers_is_told_how_many_there_may_be(
    port: int, more: int, expected: int
) -> None:
    headers = HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(more))
    status, _, body = await send(port, b"GET / HTTP/1.1\r\n" + headers + b"\r\n")
    assert status == expected
    assert ("at most 64" in json.loads(body).get("message", "")) == (expected == 400)


LONG_HEAD = b"GET / HTTP/1.1\r\n" + HEAD + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 2_000) for i in range(9))


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["without an end", "with an end"])
async def test_no_more_of_a_head_is_read_than_it_may_have(port: int, end: bytes) -> None:
    status, _, body = await send(port, LONG_HEAD + end)
    assert (status, json.loads(body)["code"]) == (400, "invalid_http")
    assert "16384 bytes" in json.loads(body)["message"]


async def test_a_body_and_requests_after_each_other_are_no_head(port: int) -> None:
    posted = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n" + b"a" * 40_000
    status, _, body = await send(port, posted * 3 + b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, body.count(b"HTTP/1.1 200 OK")) == (200, 3)


async def test_what_fails_outside_of_everything_tells_the_caller_nothing(port: int) -> None:
    with capture_logs() as lines:
        status, _, body = await send(port, b"GET /broken HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert b"hunter2" not in body
    assert [line["event"] for line in lines] == ["http.failed"]


async def test_a_body_that_is_no_gzip_is_no_error_of_ours(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip"
    status, _, _ = await send(port, request)
    assert status in {200, 400}
    assert caplog.records == []


async def test_a_request_that_is_well_formed_is_answered(port: int) -> None:
    status, _, body = await send(port, b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, json.loads(body)) == (200, {"path": "/"})
