"""Connections that are many, slow, or say nothing, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.integration.http.served import PLENTY, SweptClock, served_by
from zmartd import config, daemon
from zmartd.clock import Clock, SystemClock
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.kit.codec import json_response
from zmartd.http.middleware.cors import CORS, CorsHeaders
from zmartd.http.server.connection import connection_of
from zmartd.http.server.timeouts import CLOSING_SECONDS

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
DEFAULT = config.ServerSettings()
QUICK = config.ServerSettings(keepalive_seconds=0.5)
PATIENT_SECONDS = 120
LARGE = "x" * 20_000_000


async def plain(request: web.Request) -> web.Response:
    return json_response({"body": len(await request.read())})


async def large(_: web.Request) -> web.Response:
    return web.Response(text=LARGE)


async def busy(_: web.Request) -> web.Response:
    return web.Response(status=429)


never_answered = [0]


async def never(_: web.Request) -> web.Response:
    never_answered[0] += 1
    await asyncio.Event().wait()
    raise AssertionError


async def upgrade(request: web.Request) -> web.StreamResponse:
    assert connection_of(request).is_upgraded
    raise web.HTTPBadRequest


@asynccontextmanager
async def server(settings: config.ServerSettings = DEFAULT, clock: Clock | None = None) -> AsyncIterator[int]:
    app = web.Application(client_max_size=10**8)
    app.add_routes([web.get("/", plain), web.post("/", plain), web.get("/upgrade", upgrade)])
    app.add_routes([web.get("/large", large), web.get("/never", never), web.get("/busy", busy)])
    app[CORS] = CorsHeaders(["https://app.example"])
    runner = served_by(app, settings, clock, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def connect(port: int, source: str = "127.0.0.1") -> tuple[StreamReader, StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def ends(reader: StreamReader) -> bytes:
    """What comes until the other side closes. TimeoutError when it does not."""
    async with asyncio.timeout(PATIENT_SECONDS):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT_SECONDS):
        while not condition():  # noqa: ASYNC110 - metrics are no events
            await asyncio.sleep(0.02)


def is_gone(reader: StreamReader) -> bool:
    """Whether the other side has closed, and what it sent has been read."""
    return reader.at_eof() or reader.exception() is not None


async def end_after(clock: SweptClock, seconds: float, reader: StreamReader) -> bytes:
    """What comes until the other side closes, which it does about `seconds` from now."""
    await clock.wait(seconds - 1)
    assert not is_gone(reader)
    await clock.wait(2)  # each byte of a body gives it a moment more
    return await ends(reader)


def open_connections() -> float:
    return REGISTRY.get_sample_value("zmartd_http_connections") or 0.0


def expired(step: str) -> float:
    return REGISTRY.get_sample_value("zmartd_http_expired_connections_total", {"step": step}) or 0.0


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHo", GET[:-2]],
    ids=["says nothing", "half a header", "no end of the head"],
)
async def test_a_connection_that_sends_no_whole_head_is_let_go(sent: bytes) -> None:
    clock = SweptClock()
    async with server(clock=clock) as port:
        reader, writer = await connect(port)
        writer.write(sent)
        assert await end_after(clock, DEFAULT.head_seconds, reader) == b""
        writer.close()


@pytest.mark.parametrize("trickle", [False, True])
async def test_a_body_that_does_not_arrive_is_answered_and_the_connection_let_go(trickle: bool) -> None:
    clock = SweptClock()
    async with server(clock=clock) as port:
        before = expired("body")
        reader, writer = await connect(port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
        for _ in range(int(DEFAULT.body_seconds) - 1):
            writer.write(b" " * trickle)
            await clock.wait(1)
        assert expired("body") == before
        head, _, body = (await end_after(clock, 1, reader)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"X-Request-Id: " in head
        assert json.loads(body)["code"] == "request_too_slow"
        assert expired("body") == before + 1
        writer.close()


LONG_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 20_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{", b"408"),
        (LONG_HEAD, b"400"),
        (b"\x16\x03\x01 is no HTTP\r\n\r\n", b"400"),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"200"),
        (b"", b"503"),
    ],
    ids=["body too slow", "head too long", "no HTTP", "asked to close", "too many"],
)
async def test_a_peer_that_still_sends_can_read_the_last_answer(sent: bytes, status: bytes) -> None:
    """The system would reset the connection, and the peer's could then drop what it has not read."""
    clock = SweptClock()
    settings = config.ServerSettings(max_connections=20 if sent else 1)
    async with server(settings, clock) as port, AsyncExitStack() as held:
        if not sent:
            held.callback((await connect(port))[1].close)
        reader, writer = await connect(port)
        writer.write(sent)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            if status == b"408":
                writer.write(b" ")
                clock.seconds += settings.body_seconds
            await asyncio.sleep(0.05)
        assert answer.result().split()[1] == status
        for _ in range(3):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)
        assert not writer.transport.is_closing()
        before = expired("close")
        if sent:
            await clock.wait(CLOSING_SECONDS)
            assert expired("close") == before + 1
        writer.close()


@pytest.mark.parametrize("origin", ["https://app.example", "https://evil.example"])
async def test_pages_can_read_the_refusals_that_the_application_does_not_see(origin: str) -> None:
    slow = f"POST / HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: 9\r\n\r\n"
    filler = "".join(f"X-{number}: {'a' * 6_000}\r\n" for number in range(3))
    long = f"GET / HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{filler}\r\n"
    for request, status in ((slow, b"408"), (long, b"400")):
        clock = SweptClock()
        async with server(clock=clock) as port:
            reader, writer = await connect(port)
            writer.write(request.encode())
            await clock.wait(DEFAULT.body_seconds)
            head = (await ends(reader)).partition(b"\r\n\r\n")[0]
            writer.close()
        assert head.split()[1] == status
        allowed = b"Access-Control-Allow-Origin: https://app.example\r\n" in head
        assert allowed == (origin == "https://app.example")
        assert b"Vary: Origin" in head


async def test_a_connection_is_let_go_when_no_further_request_comes() -> None:
    async with server(QUICK) as port:
        reader, writer = await connect(port)
        writer.write(GET)
        assert (await ends(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    clock = SweptClock()
    async with server(clock=clock) as port:
        before = expired("answer")
        reader, writer = await connect(port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)
        await clock.wait(DEFAULT.answer_seconds - 1)
        assert expired("answer") == before
        await clock.wait(1)
        assert expired("answer") == before + 1
        assert len(await ends(reader)) < len(LARGE)
        writer.close()


async def test_half_a_head_on_a_connection_that_had_a_request_is_not_waited_for() -> None:
    clock = SweptClock()
    async with server(config.ServerSettings(keepalive_seconds=600), clock) as port:
        reader, writer = await connect(port)
        writer.write(GET)
        await reader.readuntil(b'{"body":0}')
        await clock.wait(2 * DEFAULT.head_seconds)
        writer.write(GET[:10])
        assert await end_after(clock, DEFAULT.head_seconds, reader) == b""
        writer.close()


async def test_who_asks_for_more_and_takes_nothing_gets_no_more_time() -> None:
    clock = SweptClock()
    async with server(clock=clock) as port:
        before = expired("answer")
        reader, writer = await connect(port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)
        for _ in range(int(DEFAULT.answer_seconds) // 10):
            assert expired("answer") == before
            writer.write(GET)
            await clock.wait(10)
        assert expired("answer") == before + 1
        writer.close()


async def test_a_websocket_that_was_refused_is_a_connection_like_others() -> None:
    """It would be one without deadlines, if what was asked for counted and not what came of it."""
    clock = SweptClock()
    async with server(clock=clock) as port:
        reader, writer = await connect(port)
        writer.write(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
        assert b"request_too_slow" in await end_after(clock, DEFAULT.body_seconds, reader)
        writer.close()


async def test_a_large_body_may_take_longer_if_it_comes_steadily() -> None:
    settings, clock = config.ServerSettings(body_seconds=2, min_body_bytes_per_second=2_000), SweptClock()
    async with server(settings, clock) as port:
        reader, writer = await connect(port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(10):  # ten seconds, at the least rate
            writer.write(bytes(2_000))
            await clock.wait(1)
        async with asyncio.timeout(PATIENT_SECONDS):
            await reader.readuntil(b'{"body":20000}')
        writer.close()


async def test_whoever_keeps_the_deadlines_is_served_for_longer_than_each_of_them() -> None:
    clock = SweptClock()
    async with server(clock=clock) as port:
        reader, writer = await connect(port)
        for _ in range(4):
            writer.write(b"POST / HTTP/1.1\r\n")
            await clock.wait(DEFAULT.head_seconds - 1)
            writer.write(b"Host: x\r\nContent-Length: 2\r\n\r\n")
            await clock.wait(DEFAULT.body_seconds - 1)
            writer.write(b"{}")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(10) == b'{"body":2}'
            await clock.wait(DEFAULT.keepalive_seconds)
        writer.close()


async def test_requests_that_wait_behind_one_too_many_are_not_answered() -> None:
    async with server(config.ServerSettings()) as port:
        reader, writer = await connect(port)
        for _ in range(2):
            writer.write(GET.replace(b"/ ", b"/busy "))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 429")
            assert b"Connection: close" not in head
        writer.write(GET + GET.replace(b"/ ", b"/busy ") * 20)
        assert [line.split()[1] for line in await status_lines(reader)] == [b"200", b"429"]
        writer.close()


async def status_lines(reader: StreamReader) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 [0-9]{3}", await ends(reader))


async def test_connections_are_limited_in_all_and_the_next_is_told_to_come_back() -> None:
    clock = SweptClock()
    clock.may_sweep.clear()
    with capture_logs() as logs:
        async with (
            server(config.ServerSettings(max_connections=20), clock) as port,
            AsyncExitStack() as held,
        ):
            for number in range(20):
                _, writer = await connect(port, f"127.0.1.{number}")
                held.callback(writer.close)
                writer.write(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
                await writer.drain()
            for _ in range(5):
                reader, writer = await connect(port, "127.0.2.1")
                head, _, body = (await ends(reader)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert b"Retry-After: " in head
                assert json.loads(body)["code"] == "server_full"
                writer.close()
            open_ones = open_connections()
            await held.aclose()
            await until(lambda: open_connections() < open_ones)
            assert (await answer_to(port, "127.0.2.1")).startswith(b"HTTP/1.1 200")
    refused = [line for line in logs if line["event"] == "http.connections_refused"]
    assert len(refused) == 1, "a line for each refusal would fill the log"


async def answer_to(port: int, source: str) -> bytes:
    reader, writer = await connect(port, source)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return await ends(reader)
    finally:
        writer.close()


async def test_one_caller_holds_so_many_connections_and_others_are_served_all_the_same() -> None:
    async with server(config.ServerSettings(max_connections_per_ip=10)) as port, AsyncExitStack() as held:
        for _ in range(10):
            _, writer = await connect(port, "127.0.3.3")
            held.callback(writer.close)
        assert (await answer_to(port, "127.0.3.3")).startswith(b"HTTP/1.1 503")
        assert (await answer_to(port, "127.0.3.4")).startswith(b"HTTP/1.1 200")


async def test_a_proxy_of_ours_may_hold_as_many_as_there_are() -> None:
    settings = config.ServerSettings(max_connections_per_ip=5, trusted_proxies=("127.0.3.3",))
    async with server(settings) as port, AsyncExitStack() as held:
        for _ in range(20):
            _, writer = await connect(port, "127.0.3.3")
            held.callback(writer.close)
        assert (await answer_to(port, "127.0.3.3")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nX-Half: ", GET], ids=["says nothing", "half a head", "keeps alive"]
)
async def test_connections_that_wait_make_room_and_who_holds_most_begins(sent: bytes) -> None:
    settings = config.ServerSettings(max_connections=20, keepalive_seconds=3_600)
    clock = SweptClock()
    async with server(settings, clock) as port, AsyncExitStack() as held:

        async def hold(source: str, count: int) -> list[StreamReader]:
            readers = []
            for _ in range(count):
                reader, writer = await connect(port, source)
                held.callback(writer.close)
                writer.write(sent)
                if sent == GET:
                    assert await reader.readuntil(b"}")
                readers.append(reader)
            return readers

        clock.may_sweep.clear()
        few = [*await hold("127.0.4.1", 7), *await hold("127.0.4.2", 1)]
        many = await hold("127.0.4.3", 12)
        clock.may_sweep.set()
        await until(lambda: sum(map(is_gone, many)) >= 2)
        await clock.wait(0)
        assert sum(map(is_gone, many)) == 2, "a tenth of all places"
        assert (await answer_to(port, "127.0.4.4")).startswith(b"HTTP/1.1 200")
        assert not any(map(is_gone, few))


async def test_a_request_that_is_served_and_a_proxy_s_connection_make_no_room() -> None:
    settings = config.ServerSettings(
        max_connections=20, trusted_proxies=("127.0.3.3",), keepalive_seconds=3_600
    )
    clock = SweptClock()
    async with server(settings, clock) as port, AsyncExitStack() as held:
        readers, before = [], never_answered[0]
        clock.may_sweep.clear()
        for number in range(20):
            reader, writer = await connect(port, "127.0.3.3" if number < 10 else "127.0.3.4")
            held.callback(writer.close)
            writer.write(GET if number < 10 else GET.replace(b"/ ", b"/never "))
            readers.append(reader)
        for reader in readers[:10]:
            await reader.readuntil(b"}")
        await until(lambda: never_answered[0] == before + 10)
        clock.may_sweep.set()
        await clock.wait(0)
        assert not any(map(is_gone, readers))
        assert (await answer_to(port, "127.0.3.5")).startswith(b"HTTP/1.1 503")


CROWD = min(1_000, int(Path("/proc/sys/net/core/somaxconn").read_text()))


async def test_a_crowd_that_comes_while_the_daemon_is_busy_waits_for_it() -> None:
    limits = daemon.connection_limits(PLENTY, TrustedProxies((), SystemClock()))
    runner = daemon.runner_of(web.Application(), PLENTY, limits)
    async with daemon.listening(runner, "server", "127.0.0.1", 0):
        with ExitStack() as stack:
            for _ in range(CROWD):  # in one turn of the event loop, so that nothing is accepted
                stack.enter_context(socket.create_connection(runner.addresses[0], timeout=5))
