"""The WebSocket endpoint: upgrades HTTP requests and keeps account of the connections."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import Gauge
from redis.asyncio import Redis

from zmartd.clock import Clock
from zmartd.config import RealtimeSettings
from zmartd.http.auth.authenticator import BEARER
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.requests import InvalidHttp
from zmartd.http.errors.websocket import Restarting, TooManyConnections, UpgradeRequired
from zmartd.http.kit.client_address import client_of
from zmartd.http.server.connection import Takeable, takeable_connection
from zmartd.http.ws import draining
from zmartd.http.ws.connection import NewestSlot, Services, WebSocketConnection
from zmartd.http.ws.frame_limits import FrameCounts, FrameLimits, breaches
from zmartd.http.ws.handshake import Handshake, SwitchingProtocols, read_handshake, wants_upgrade
from zmartd.http.ws.heartbeat import Heartbeat
from zmartd.http.ws.message_limit import MessageLimit
from zmartd.http.ws.places import Places
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.http.ws.socket import CLOSE_SECONDS, LOST, WebSocket
from zmartd.metrics import Counter, Measured
from zmartd.realtime.client import Client
from zmartd.realtime.encodings import deflated_text_frame, text_frame
from zmartd.realtime.hub import Hub

_connections = Gauge("zmartd_websocket_connections", "Open WebSocket connections.")
_opened = Counter("zmartd_websocket_opened_connections", "WebSocket connections that were opened.")
_entries = Measured("zmartd_realtime_entries", "Entries of what is kept for clients of streams.", ["table"])


class WebSocketEndpoint:
    """Serves WebSocket connections within the limits of `settings`, and closes them at shutdown.

    `watch_sessions` has to be running for clients to be signed out, and `keep_places` for their connections
    to be counted over all daemons.
    """

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        settings: RealtimeSettings,
        clock: Clock,
        *,
        redis: Redis,
        new_client_id: Callable[[], str],
        newest_slot: NewestSlot,
        jitter: random.Random,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._jitter = jitter
        self._monitor = SessionMonitor(sessions, clock)
        self._settings = settings
        self._new_client_id = new_client_id
        self._places = Places(redis, clock, secrets.token_hex(8), settings.max_connections_per_ip)
        self._frame_limits = FrameLimits(
            settings, clock, MessageLimit(redis, clock, settings.max_messages_per_minute)
        )
        self._heartbeat = Heartbeat(settings.heartbeat_seconds)
        self.services = Services(hub, sessions, self._monitor, clock, newest_slot, set())
        """What the connections of all clients share."""
        self._open = 0
        self._is_closing = False
        self._none_is_open = asyncio.Event()
        self._none_is_open.set()
        _entries.measure = lambda: {(table,): number for table, number in self.entries().items()}

    def entries(self) -> dict[str, int]:
        """How many entries each table has that is kept for clients of streams. Any thread may ask."""
        return {
            **self._hub.entries(),
            "sessions": self._monitor.clients,
            "places": self._places.owners,
            "tasks": len(self.services.tasks),
        }

    def counts(self) -> dict[str, int]:
        """The connections that are open, and how many this process has opened and lost."""
        return {
            "websockets_open": self._open,
            "websockets_opened": _opened.total(),
            "websockets_lost": LOST.total(),
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Make a request a WebSocket, which goes on after the answer.

        Raises UpgradeRequired, InvalidHttp, TooManyConnections; Restarting, so that a proxy tries another
        daemon.
        """
        if not wants_upgrade(request):
            raise UpgradeRequired
        if self._is_closing:
            raise Restarting
        connection = takeable_connection(request)
        handshake = read_handshake(request)
        if not connection.is_upgraded:
            raise InvalidHttp
        client = client_of(request)
        await self.take_place(client)
        response = SwitchingProtocols(handshake)
        try:
            await response.prepare(request)
        except ConnectionError:  # the client is gone, as aiohttp will find when it sends the answer
            self.give_place_back(client)
            return response
        except BaseException:
            self.give_place_back(client)
            raise
        if connection.peer_transport is None:
            self.give_place_back(client)
        else:
            await self._begin(connection, client, handshake, _token(request))
        return response

    async def keep_places(self) -> None:
        """Count the connections together with other daemons, until cancelled."""
        await self._places.run()

    async def watch_sessions(self) -> None:
        """Sign clients out when their sessions end, until cancelled."""
        await self._monitor.run()

    async def drain(self, seconds: float) -> None:
        """Take no more clients, and send away those that there are, spread over so many seconds."""
        self._is_closing = True
        await draining.drain(self._hub.clients, seconds, self._clock, self._jitter)

    async def close(self, _: web.Application) -> None:
        """Close all connections with SERVICE_RESTART, and wait until they are; an `on_shutdown` signal.

        The browser client would not reconnect after the normal code 1000.
        """
        await self.drain(0)
        async with asyncio.timeout(2 * CLOSE_SECONDS):  # each is aborted after CLOSE_SECONDS
            await self._none_is_open.wait()
        for task in self.services.tasks:
            task.cancel()
        await asyncio.gather(*self.services.tasks, return_exceptions=True)
        await self._places.leave()

    async def take_place(self, client: str) -> None:
        """Count a connection of a client. Raises TooManyConnections."""
        try:
            await self._places.take(client)
        except TooManyConnections as error:
            breaches.labels(error.code).inc()
            raise

    def give_place_back(self, client: str) -> None:
        """Count one connection of a client less."""
        self._places.give_back(client)

    def end_if_closing(self, client: Client) -> None:
        """Close a client that came after all others were closed."""
        if self._is_closing:
            draining.send_away(client, self._jitter)

    async def _begin(self, connection: Takeable, owner: str, handshake: Handshake, token: str | None) -> None:
        transport, deflates = connection.peer_transport, handshake.extensions is not None
        assert transport is not None, "the connection is open"
        socket = WebSocket(
            transport,
            FrameCounts(self._frame_limits, owner),
            on_end=self._ended,
            places=connection.limits,
            owner=owner,
            max_message_bytes=self._settings.max_message_bytes,
            deflates=deflates,
        )
        client = self._hub.connect(socket, deflated_text_frame if deflates else text_frame)
        messages = WebSocketConnection(self.services, socket, client)
        socket.heartbeat_slot = self._heartbeat.add(socket)
        _connections.inc()
        _opened.inc()
        self._open += 1
        self._none_is_open.clear()

        def start(received: bytes) -> None:
            messages.start(self._new_client_id(), token)
            socket.start(messages, received)
            self.end_if_closing(client)

        await connection.hand_over(socket, start)

    def _ended(self, socket: WebSocket) -> None:
        self._heartbeat.remove(socket, socket.heartbeat_slot)
        self.give_place_back(socket.owner)
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
