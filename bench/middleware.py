"""Measures the cost of each step around a handler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from bench.figures import Figure
from zmartd.clock import SystemClock
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES
from zmartd.http.kit.operation import Quota
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import PIPELINE
from zmartd.http.middleware.rate_limiter import RateLimiter, add_rate_limit_headers
from zmartd.http.middleware.request_buckets import RequestBuckets
from zmartd.http.middleware.security_headers import add_security_headers

_ROUNDS = 7
_CALLS = 1_000


class RequestCatcher:
    """Captures a request object of an application that does not listen yet."""

    def __init__(self, app: web.Application) -> None:
        self._waiting: asyncio.Future[web.Request] | None = None
        app.on_response_prepare.append(self._catch)

    async def caught(self, port: int, path: str) -> web.Request:
        """The request object of a GET of `path`, as the middlewares see it."""
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
    """The microseconds for `request` of each step around a handler, of all steps together, and of all that is
    done for it, which is the steps and its own handler.
    """
    clock = SystemClock()
    log = AccessLog(clock)
    limiter = RateLimiter(app[keys.REDIS], clock)
    request_buckets = RequestBuckets(limiter, app[keys.RATE_LIMITS], app[TRUSTED_PROXIES])
    headers: CIMultiDict[str] = CIMultiDict()

    def logged() -> None:
        log.record(request, log.request_id_for(request.headers), 200, 0.001)

    async def counted() -> None:
        buckets = request_buckets.of(request, Quota.REQUESTS)
        now = clock.monotonic()
        limit = limiter.count_leased(buckets, now) or await limiter.count(buckets)
        add_rate_limit_headers(headers, limit)

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    wrapped, answered = app[PIPELINE].wrap(handler), request.match_info.route.handler
    for measured in (wrapped, answered):
        assert (await measured(request)).status == 200, "a refusal is not what is measured"
    alone = await _microseconds(partial(handler, request))
    together = await _microseconds(partial(wrapped, request)) - alone
    whole = await _microseconds(partial(answered, request))
    steps = [
        ("access log", await _microseconds(partial(_at_once, logged)), "with writing its line"),
        ("rate limits", await _microseconds(counted), "with the headers that tell of them"),
        (
            "security headers",
            await _microseconds(partial(_at_once, partial(add_security_headers, headers))),
            "",
        ),
        ("all steps", together, "also authentication of nobody, errors, CORS, keys of writes"),
        ("answer from memory", whole, "all steps, key, look-up, response"),
    ]
    return [Figure(name, microseconds, "µs", note=f"CPU; {note}") for name, microseconds, note in steps]


async def _at_once(call: Callable[[], None]) -> None:
    call()


async def _microseconds(call: Callable[[], Awaitable[object]]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(_CALLS):
            await call()
        best = min(best, time.perf_counter() - started)
    return best / _CALLS * 1e6
