"""Runs an application on the HTTP server, and closes connections that are too slow or too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from aiohttp import web

from zmartd.clock import Clock
from zmartd.http.kit import keys
from zmartd.http.kit.log_rate_limit import LogRateLimit
from zmartd.http.middleware.cors import CORS
from zmartd.http.server.connection import HttpConnection, HttpServer, connection_of
from zmartd.http.server.connection_limits import ConnectionLimits
from zmartd.http.server.hand_over import can_hand_over
from zmartd.http.server.request_head import MAX_HEADERS
from zmartd.http.server.timeouts import ConnectionTimeouts, Phase
from zmartd.log import get_logger

ServerHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SWEEP_SECONDS = 1.0
"""The time between two sweeps over all connections."""
BEGIN_SECONDS = 1.0
"""How long the last connections may take to send a request."""
LOOK_SECONDS = 0.01
"""The time between two looks whether they have."""

log = get_logger(__name__)


class Runner(web.AppRunner):
    """Runs an application on an `HttpServer`.

    aiohttp does not decompress bodies here. It would decompress also those that nobody reads, only to discard
    them: one megabyte from anybody would block the event loop for a second.
    """

    def __init__(
        self,
        app: web.Application,
        limits: ConnectionLimits,
        timeouts: ConnectionTimeouts,
        clock: Clock,
        *,
        hands_over: bool | None = None,
        **options: Any,
    ) -> None:
        """`hands_over`: whether WebSockets are taken away from aiohttp; by default where it is known."""
        app[keys.BODIES_STAY_COMPRESSED] = True
        super().__init__(
            app,
            auto_decompress=False,
            keepalive_timeout=timeouts.keepalive_seconds,
            max_headers=MAX_HEADERS,
            **options,
        )
        self._limits = limits
        self._clock = clock
        self._hands_over = can_hand_over() if hands_over is None else hands_over
        self._malformed = LogRateLimit(clock)
        self._timeouts = timeouts
        self._sweeping: asyncio.Task[None] | None = None

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler = _resetting_has_received(made.request_handler)
        server = HttpServer(handler, request_factory=made.request_factory, **made._kwargs)
        server.limits, server.malformed = self._limits, self._malformed
        server.cors = self.app.get(CORS)
        server.hands_over = self._hands_over
        self._sweeping = asyncio.create_task(self._sweep(server), name="sweep of connections")
        return server

    async def _sweep(self, server: HttpServer) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                connections = cast("list[HttpConnection]", server.connections)
                self._timeouts.sweep(connections)
                self._evict(connections)
            except Exception:
                log.exception("http.sweep_failed")

    def _evict(self, connections: Sequence[HttpConnection]) -> None:
        """Close connections that wait for their peers where too few are free."""
        waiting = {
            connection.peer_transport: connection
            for connection in connections
            if connection.peer_transport is not None and connection.phase[0] is not Phase.NONE
        }
        for transport in self._limits.choose_evicted(waiting):
            connection = waiting[transport]
            connection.expire(connection.phase[0])

    @property
    def hands_over(self) -> bool:
        """Whether WebSockets are taken away from aiohttp."""
        return self._hands_over

    def drain(self) -> None:
        """Let each response be the last one on its connection, from now on."""
        if isinstance(self.server, HttpServer):
            self.server.is_draining = True

    async def cleanup(self) -> None:
        for site in self.sites:
            await site.stop()
        await self._let_begin()
        await super().cleanup()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def _let_begin(self) -> None:
        """While the server drains, wait for the requests of connections that were accepted just now.

        To close one on which a request is under way would lose it, and a proxy does not repeat every method.
        """
        server, deadline = self.server, self._clock.monotonic() + BEGIN_SECONDS
        if not isinstance(server, HttpServer) or not server.is_draining:
            return
        connections = cast("list[HttpConnection]", server.connections)
        while self._clock.monotonic() < deadline:
            if not any(connection.phase[0] is Phase.HEAD for connection in connections):
                return
            await self._clock.sleep(LOOK_SECONDS)


def _resetting_has_received(handler: ServerHandler) -> ServerHandler:
    """`handler`, after which its connection waits for the next request."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            connection_of(request).has_received = False

    return handle
