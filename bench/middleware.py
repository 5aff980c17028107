"""What each middleware adds to a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bench.table import Figure

_ROUNDS = 7
_CALLS = 1_000


class Net:
    """Catches a request of an application that does not listen yet."""

    def __init__(self, app: web.Application) -> None:
        self._waiting: asyncio.Future[web.Request] | None = None
        app.on_response_prepare.append(self._catch)

    async def caught(self, port: int, path: str) -> web.Request:
        """A real GET of `path`, as the middlewares saw it."""
        self._waiting = asyncio.get_running_loop().create_future()
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"http://127.0.0.1:{port}{path}") as response,
        ):
            await response.read()
        return await self._waiting

    async def _catch(self, request: web.Request, _response: web.StreamResponse) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(request)


async def measure(app: web.Application, request: web.Request) -> list[Figure]:
    """Microseconds that each middleware takes for `request` in front of a handler that does nothing, and what
    the request's own handler takes.
    """

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    alone = await _microseconds(partial(handler, request))
    figures = []
    for middleware in app.middlewares:
        microseconds = await _microseconds(partial(middleware, request, handler))
        figures.append(
            Figure(f"middleware {_name(middleware)}", max(microseconds - alone, 0.0), "µs", note="CPU")
        )
    kept = await _microseconds(partial(request.match_info.route.handler, request))
    figures.append(Figure("handler, from memory", kept, "µs", note="CPU: key, look-up, response"))
    return figures


async def _microseconds(call: Callable[[], Awaitable[object]]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(_CALLS):
            await call()
        best = min(best, time.perf_counter() - started)
    return best / _CALLS * 1e6


def _name(middleware: Middleware | Handler) -> str:
    return getattr(middleware, "__qualname__", repr(middleware)).split(".")[0]
