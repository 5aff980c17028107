"""JSON-RPC over HTTP, with the failures that were requested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from zmartd.embedded.localnet.callers import Caller, NotForPages, caller_of, may_call, this_machine_only
from zmartd.embedded.localnet.dispatch import Dispatcher, called_methods, refusal
from zmartd.embedded.localnet.errors import NodeUnhealthy
from zmartd.embedded.localnet.faults import Failure, FaultPlan
from zmartd.embedded.localnet.methods.cheatcodes import CHEATCODE_PREFIXES
from zmartd.embedded.localnet.websocket import WebSocketHandler

MAX_BODY_BYTES = 1024 * 1024
HANG_SECONDS = 120.0
"""More than any client waits."""
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}


class HttpHandler:
    """Serves HTTP until it is closed, and WebSocket upgrades on the same port."""

    def __init__(
        self, methods: Mapping[str, Callable[..., Any]], faults: FaultPlan, websockets: WebSocketHandler
    ) -> None:
        self._dispatchers = {
            caller: Dispatcher({name: method for name, method in methods.items() if may_call(caller, name)})
            for caller in Caller
        }
        self._faults = faults
        self._websockets = websockets
        self._closing = asyncio.Event()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[this_machine_only])
        application.router.add_post("/", self._call)
        application.router.add_options("/", self._preflight)
        application.router.add_get("/", self._get)
        application.router.add_get("/health", self._health)
        return application

    async def close(self) -> None:
        """End the requests that hang on purpose."""
        self._closing.set()

    async def _call(self, request: web.Request) -> web.Response:
        body = await request.read()
        caller = caller_of(request.headers)
        refused = sorted(method for method in called_methods(body) if not may_call(caller, method))
        if refused:
            return _json(refusal(body, NotForPages.of(refused[0])), 403)
        failure = self._failure(body)
        if failure is not None and not self._faults.fails_after_answering:
            return await self._fail(request, body, failure)
        answer = self._dispatchers[caller].respond(body)
        if failure is not None:
            return await self._fail(request, body, failure)
        return _json(answer or b"")

    def _failure(self, body: bytes) -> Failure | None:
        if not self._faults.touches_requests:
            return None
        methods = called_methods(body)
        if any(method.startswith(CHEATCODE_PREFIXES) for method in methods):
            return None
        return self._faults.request_failure(methods)

    async def _fail(self, request: web.Request, body: bytes, failure: Failure) -> web.Response:
        if isinstance(failure, int):
            return web.Response(status=failure, text="a fault that was asked for\n", headers=_CORS)
        if failure == "unhealthy":
            return _json(refusal(body, NodeUnhealthy()))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), HANG_SECONDS)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)

    async def _preflight(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websockets.handle(request)
        return web.Response(status=405, text="POST JSON-RPC here\n", headers=_CORS | {"Allow": "POST"})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok", headers=_CORS)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=_CORS)
