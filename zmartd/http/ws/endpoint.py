"""The WebSocket endpoint: upgrades HTTP requests and keeps account of the connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import Gauge

from zmartd.clock import Clock
from zmartd.config import RealtimeSettings
from zmartd.http.auth.authenticator import BEARER
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.requests import InvalidHttp
from zmartd.http.errors.websocket import ConnectionLimit, TooManyConnections, UpgradeRequired
from zmartd.http.kit.client_address import SITE_CLIENTS, client_of, site_of
from zmartd.http.server.connection import HttpConnection, connection_of
from zmartd.http.ws.connection import NewestSlot, Services, WebSocketConnection
from zmartd.http.ws.frame_limits import FrameCounts, FrameLimits
from zmartd.http.ws.handshake import Handshake, SwitchingProtocols, read_handshake, wants_upgrade
from zmartd.http.ws.heartbeat import Heartbeat
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.http.ws.socket import CLOSE_SECONDS, WebSocket
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.encodings import deflated_text_frame, text_frame
from zmartd.realtime.hub import Hub

_RESTARTING = "the server is restarting; connect again"

_connections = Gauge("zmartd_websocket_connections", "Open WebSocket connections")


class ConnectionsPerClient:
    """Limits how many WebSocket connections to this daemon a client, and an IPv6 site, may have open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def take(self, client: str) -> None:
        """Count a connection until `give_back`. Raises TooManyConnections."""
        limits = self._limits(client)
        for owner, limit in limits.items():
            if self._open[owner] >= limit:
                raise TooManyConnections(ConnectionLimit(limit))
        self._open.update(limits.keys())

    def give_back(self, client: str) -> None:
        """Count a connection no more."""
        limits = self._limits(client)
        self._open.subtract(limits.keys())
        for owner in limits:
            if not self._open[owner]:
                del self._open[owner]

    @contextmanager
    def connection(self, client: str) -> Iterator[None]:
        """Count a connection for the length of the block. Raises TooManyConnections."""
        self.take(client)
        try:
            yield
        finally:
            self.give_back(client)

    def _limits(self, client: str) -> dict[str, int]:
        """By client and by site: how many connections it may have."""
        limits = {client: self._limit}
        limits.setdefault(site_of(client), self._limit * SITE_CLIENTS)
        return limits


class WebSocketEndpoint:
    """Serves WebSocket connections within the limits of `settings`, and closes them at shutdown.

    `watch_sessions` has to be running for clients to be signed out.
    """

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        settings: RealtimeSettings,
        clock: Clock,
        *,
        new_client_id: Callable[[], str],
        newest_slot: NewestSlot,
    ) -> None:
        self._hub = hub
        self._monitor = SessionMonitor(sessions, clock)
        self._settings = settings
        self._new_client_id = new_client_id
        self._per_client = ConnectionsPerClient(settings.max_connections_per_ip)
        self._frame_limits = FrameLimits(settings, clock)
        self._heartbeat = Heartbeat(settings.heartbeat_seconds)
        self._services = Services(hub, sessions, self._monitor, clock, newest_slot, set())
        self._open = 0
        self._is_closing = False
        self._none_is_open = asyncio.Event()
        self._none_is_open.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Make a request a WebSocket, which goes on after the answer.

        Raises UpgradeRequired, InvalidHttp, TooManyConnections.
        """
        if not wants_upgrade(request):
            raise UpgradeRequired
        connection = connection_of(request)
        handshake = read_handshake(request)
        if not connection.is_upgraded:
            raise InvalidHttp
        client = client_of(request)
        self._per_client.take(client)
        response = SwitchingProtocols(handshake)
        try:
            await response.prepare(request)
        except BaseException:
            self._per_client.give_back(client)
            raise
        if connection.peer_transport is None:
            self._per_client.give_back(client)
        else:
            await self._begin(connection, client, handshake, _token(request))
        return response

    async def watch_sessions(self) -> None:
        """Sign clients out when their sessions end, until cancelled."""
        await self._monitor.run()

    async def close(self, _: web.Application) -> None:
        """Close all connections with GOING_AWAY, and wait until they are; an `on_shutdown` signal.

        The browser client would not reconnect after the normal code 1000.
        """
        self._is_closing = True
        self._hub.close(CloseCode.GOING_AWAY, _RESTARTING)
        async with asyncio.timeout(2 * CLOSE_SECONDS):  # each is aborted after CLOSE_SECONDS
            await self._none_is_open.wait()
        for task in self._services.tasks:
            task.cancel()
        await asyncio.gather(*self._services.tasks, return_exceptions=True)

    async def _begin(
        self, connection: HttpConnection, owner: str, handshake: Handshake, token: str | None
    ) -> None:
        transport, deflates = connection.peer_transport, handshake.extensions is not None
        assert transport is not None, "the connection is open"
        socket = WebSocket(
            transport,
            FrameCounts(self._frame_limits),
            on_end=self._ended,
            places=connection.limits,
            owner=owner,
            max_message_bytes=self._settings.max_message_bytes,
            deflates=deflates,
        )
        client = self._hub.connect(socket, deflated_text_frame if deflates else text_frame)
        messages = WebSocketConnection(self._services, socket, client)
        socket.heartbeat_slot = self._heartbeat.add(socket)
        _connections.inc()
        self._open += 1
        self._none_is_open.clear()

        def start(received: bytes) -> None:
            messages.start(self._new_client_id(), token)
            socket.start(messages, received)
            if self._is_closing:
                client.close(CloseCode.GOING_AWAY, _RESTARTING)

        await connection.hand_over(socket, start)

    def _ended(self, socket: WebSocket) -> None:
        self._heartbeat.remove(socket, socket.heartbeat_slot)
        self._per_client.give_back(socket.owner)
        _connections.dec()
        self._open -= 1
        if not self._open:
            self._none_is_open.set()


WEBSOCKET: Final[web.AppKey[WebSocketEndpoint]] = web.AppKey("websocket")


def _token(request: web.Request) -> str | None:
    """The session token of the request: from the query, since browsers cannot send headers, or the header."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == BEARER.lower() else None
    return request.query.get("token", bearer)
