"""The WebSocket endpoint: upgrades HTTP requests and keeps account of the connections."""

from __future__ import annotations

import asyncio
import random
import secrets
from asyncio import Transport
from collections.abc import Callable, Sequence
from socket import socket
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
from zmartd.http.server.connection import Releases, Takeable, takeable_connection
from zmartd.http.server.connection_limits import ConnectionLimits
from zmartd.http.ws import draining, keeping
from zmartd.http.ws.connection import NewestSlot, Services, WebSocketConnection
from zmartd.http.ws.frame_limits import FrameCounts, FrameLimits, breaches
from zmartd.http.ws.handshake import Handshake, SwitchingProtocols, read_handshake, wants_upgrade
from zmartd.http.ws.heartbeat import Heartbeat
from zmartd.http.ws.keeping import Arrived, Keeper, KeptClient
from zmartd.http.ws.message_limit import MessageLimit
from zmartd.http.ws.places import Places
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.http.ws.socket import CLOSE_SECONDS, LOST, WebSocket, close_frame
from zmartd.log import get_logger
from zmartd.metrics import Counter, Measured
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode, restart_reason
from zmartd.realtime.encodings import deflated_text_frame, text_frame
from zmartd.realtime.hub import Hub
from zmartd.realtime.hub_state import Subscription
from zmartd.socket_bundle import NotABundle

log = get_logger(__name__)

_connections = Gauge("zmartd_websocket_connections", "Open WebSocket connections.")
_opened = Counter("zmartd_websocket_opened_connections", "WebSocket connections that were opened.")
_taken_over = Counter(
    "zmartd_websocket_taken_over_connections",
    "WebSocket connections taken over from the process before this one.",
)
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
        self._connections: dict[WebSocket, WebSocketConnection] = {}
        self._keeper: Keeper | None = None
        """Who keeps the connections when the daemon ends."""
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
            "websockets_open": len(self._connections),
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

    async def drain(self, seconds: float, keeper: Keeper | None = None) -> None:
        """Take no more clients, and send away those that there are, spread over so many seconds; with
        `keeper` only those of other streams: WebSockets are served until `leave`.
        """
        self._is_closing = True
        self._keeper = keeper
        await self._send_away(seconds)

    async def close(self, _: web.Application) -> None:
        """Close all connections with SERVICE_RESTART, and wait until they are; an `on_shutdown` signal.

        The browser client would not reconnect after the normal code 1000. Those that are to be kept stay.
        """
        self._is_closing = True
        await self._send_away(0)
        if self._keeper is None:
            await self._end()

    async def leave(self) -> None:
        """Have the connections kept, if `drain` was told by whom. Those that cannot be are sent away."""
        if self._keeper is None:
            return
        kept = 0
        try:
            kept = await keeping.leave([*self._connections.values()], self._hub, self._keeper, self._clock)
        except Exception:
            log.exception("websocket.not_kept")
        self._keeper = None
        log.info("websocket.kept", connections=kept, sent_away=len(self._connections) - kept)
        await self._send_away(0)
        await self._end()

    async def take_over(self, kept: socket, limits: ConnectionLimits) -> None:
        """Go on with the connections that were kept of the process before this one.

        Before the hub runs, which goes on where that of the other process was.
        """
        try:
            state, sockets = keeping.read(kept)
        except NotABundle as error:
            log.warning("websocket.none_taken_over", reason=error.message)
            return
        self._hub.go_on(state.hub)
        for client, arrived in await keeping.arrivals(state, sockets):
            self._go_on(client, state.hub.subscriptions, arrived, limits)
        await self._monitor.check()
        log.info("websocket.taken_over", connections=len(self._connections), kept=len(state.clients))

    async def _send_away(self, seconds: float) -> None:
        stay = {one.client for one in self._connections.values()} if self._keeper is not None else set()
        clients = [one for one in self._hub.clients if one not in stay]
        await draining.drain(clients, seconds, self._clock, self._jitter)

    async def _end(self) -> None:
        """Return when all connections are closed and nothing is left of them."""
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
        transport = connection.peer_transport
        assert transport is not None, "the connection is open"
        messages = self._add(transport, connection.limits, owner, deflates=handshake.extensions is not None)
        _opened.inc()

        def start(received: bytes) -> None:
            messages.start(self._new_client_id(), token)
            messages.socket.start(messages, received)
            self.end_if_closing(messages.client)

        await connection.hand_over(messages.socket, start)

    def _go_on(
        self, kept: KeptClient, table: Sequence[Subscription], arrived: Arrived, limits: ConnectionLimits
    ) -> None:
        """Go on with a connection that was kept, unless its client is gone or there is no place for it."""
        transport = arrived.transport
        if transport is None or transport.is_closing():
            return
        if not limits.admit(transport):
            reason = restart_reason(draining.RETRY_MILLISECONDS[-1])
            transport.write(close_frame(CloseCode.SERVICE_RESTART, reason))
            transport.close()
            return
        self._places.go_on(kept.owner)
        messages = self._add(transport, limits, kept.owner, deflates=kept.deflates)
        _taken_over.inc()
        transport.set_protocol(messages.socket)
        self._hub.adopt(messages.client, [table[place] for place in kept.subscriptions], kept.wallet)
        messages.go_on(kept.token)
        messages.socket.start(messages, arrived.received)

    def _add(
        self, transport: Transport, places: Releases, owner: str, *, deflates: bool
    ) -> WebSocketConnection:
        """A connection of a new client of the hub."""
        made = WebSocket(
            transport,
            FrameCounts(self._frame_limits, owner),
            on_end=self._ended,
            places=places,
            owner=owner,
            max_message_bytes=self._settings.max_message_bytes,
            deflates=deflates,
        )
        client = self._hub.connect(made, deflated_text_frame if deflates else text_frame)
        connection = self._connections[made] = WebSocketConnection(self.services, made, client)
        made.heartbeat_slot = self._heartbeat.add(made)
        _connections.inc()
        self._none_is_open.clear()
        return connection

    def _ended(self, ended: WebSocket) -> None:
        self._heartbeat.remove(ended, ended.heartbeat_slot)
        self.give_place_back(ended.owner)
        _connections.dec()
        del self._connections[ended]
        if not self._connections:
            self._none_is_open.set()


WEBSOCKET: Final[web.AppKey[WebSocketEndpoint]] = web.AppKey("websocket")


def _token(request: web.Request) -> str | None:
    """The session token of the request: from the query, since browsers cannot send headers, or the header."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == BEARER.lower() else None
    return request.query.get("token", bearer)
