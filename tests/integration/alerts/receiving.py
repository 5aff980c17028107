"""A server that receives alerts, and misbehaves where a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import Struct

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENCE_SECONDS = 120.0


class Received(Struct, frozen=True):
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.raw)


def status(code: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): it for name, it in headers.items()})

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection ends where an answer should come."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    """An answer of success whose body never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b" " * 10_000)
    except ConnectionError:
        return response


class ReceivingServer:
    """Keeps what it gets at each path; the answers that are set for a path come first, then 204."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self._instead: dict[str, list[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._over = asyncio.Event()
        self._came = asyncio.Event()

    def instead(self, path: str, *answers: Answer) -> None:
        """Answer the next requests at `path` with these."""
        self._instead.setdefault(path, []).extend(answers)

    def always(self, path: str, answer: Answer) -> None:
        """Answer all others at `path` with this."""
        self._always[path] = answer

    async def hang(self, _: web.Request) -> web.StreamResponse:
        """No answer before the test is over."""
        await self._over.wait()
        return web.Response(status=500)

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]

    async def until(self, path: str, number: int) -> list[Received]:
        """What came at `path`, when there are so many."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.at(path)) < number:
                self._came.clear()
                await self._came.wait()
        return self.at(path)

    def end(self) -> None:
        self._over.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, raw))
        self._came.set()
        if self._instead.get(request.path):
            return await self._instead[request.path].pop(0)(request)
        return await self._always.get(request.path, status(204))(request)


@asynccontextmanager
async def receiving() -> AsyncIterator[ReceivingServer]:
    receiver = ReceivingServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    receiver.url = str(server.make_url("")).rstrip("/")
    try:
        yield receiver
    finally:
        receiver.end()
        await server.close()
