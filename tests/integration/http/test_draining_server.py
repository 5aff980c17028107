"""A server that is about to end: what becomes of requests that come until then, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests import patience
from tests.integration.http.served import served_by
from zmartd.http.server.runner import Runner

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Runner, int]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="answered")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = served_by(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner, runner.addresses[0][1]
    await runner.cleanup()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(patience.SECONDS):
        return await reader.read()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(patience.SECONDS):
        while not condition():  # noqa: ASYNC110 - it is no event
            await asyncio.sleep(0)


async def test_while_a_server_drains_each_answer_is_the_last_on_its_connection() -> None:
    async with serving() as (runner, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert b"Connection: close" not in await reader.readuntil(b"answered")
        runner.drain()
        writer.write(GET)
        answer = await until_closed(reader)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in answer
        writer.close()


async def test_a_request_on_a_connection_that_was_accepted_at_the_last_moment_is_answered() -> None:
    async with serving() as (runner, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: runner.server is not None and bool(runner.server.connections))
        runner.drain()
        closing = asyncio.create_task(runner.cleanup())
        await until(lambda: not runner.sites)
        writer.write(GET)
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 200 ")
        await closing
        writer.close()
