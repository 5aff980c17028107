"""The WebSocket endpoint: upgrades HTTP requests and serves the connections."""

from __future__ import annotations

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
from zmartd.http.server.connection import HttpConnection
from zmartd.http.ws.connection import CLOSE_SECONDS, NewestSlot, WebSocketConnection, WebSocketWriter
from zmartd.http.ws.frame_limits import FrameLimits
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.log import get_logger
from zmartd.realtime.hub import Hub

GOING_AWAY = 1001
INTERNAL_ERROR = 1011

log = get_logger(__name__)

_connections = Gauge("zmartd_websocket_connections", "Open WebSocket connections")


class ConnectionsPerClient:
    """Limits how many WebSocket connections to this daemon a client, and an IPv6 site, may have open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    @contextmanager
    def connection(self, client: str) -> Iterator[None]:
        """Count a connection for the length of the block. Raises TooManyConnections."""
        limits = {client: self._limit}
        limits.setdefault(site_of(client), self._limit * SITE_CLIENTS)
        for owner, limit in limits.items():
            if self._open[owner] >= limit:
                raise TooManyConnections(ConnectionLimit(limit))
        self._open.update(limits.keys())
        try:
            yield
        finally:
            self._open.subtract(limits.keys())
            for owner in limits:
                if not self._open[owner]:
                    del self._open[owner]


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
        self._sessions = sessions
        self._monitor = SessionMonitor(sessions, clock)
        self._settings = settings
        self._clock = clock
        self._new_client_id = new_client_id
        self._newest_slot = newest_slot
        self._per_client = ConnectionsPerClient(settings.max_connections_per_ip)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it disconnects. Raises UpgradeRequired, TooManyConnections."""
        if not wants_upgrade(request):
            raise UpgradeRequired
        with self._per_client.connection(client_of(request)), _connections.track_inprogress():
            limits = FrameLimits(self._settings, self._clock)
            if isinstance(request.protocol, HttpConnection):
                request.protocol.filter_websocket_input(limits.accepts)
            response = web.WebSocketResponse(
                heartbeat=self._settings.heartbeat_seconds,
                max_msg_size=self._settings.max_message_bytes + 1,  # aiohttp refuses what is not smaller
                timeout=CLOSE_SECONDS,
                compress=False,
            )
            await _upgrade(request, response)
            if request.transport is not None:
                writer = WebSocketWriter(response, request.transport)
                await self._run(request, response, writer, limits)
            return response

    async def watch_sessions(self) -> None:
        """Sign clients out when their sessions end, until cancelled."""
        await self._monitor.run()

    async def close(self, _: web.Application) -> None:
        """Close all connections with GOING_AWAY; an `on_shutdown` signal.

        The browser client would not reconnect after the normal code 1000.
        """
        self._hub.close(GOING_AWAY, "the server is restarting; connect again")

    async def _run(
        self,
        request: web.Request,
        response: web.WebSocketResponse,
        writer: WebSocketWriter,
        limits: FrameLimits,
    ) -> None:
        client = self._hub.connect(writer)
        connection = WebSocketConnection(
            response=response,
            client=client,
            hub=self._hub,
            sessions=self._sessions,
            monitor=self._monitor,
            clock=self._clock,
            newest_slot=self._newest_slot,
        )
        limits.on_exceeded(connection.close_flooding)
        try:
            await connection.run(self._new_client_id(), _token(request))
        except Exception:
            # The HTTP response has been sent already, so the middleware cannot report the error.
            log.exception("websocket.failed")
            writer.close(INTERNAL_ERROR, "something went wrong on our side")
        finally:
            self._hub.disconnect(client)
            writer.abort_later()


WEBSOCKET: Final[web.AppKey[WebSocketEndpoint]] = web.AppKey("websocket")


def wants_upgrade(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


async def _upgrade(request: web.Request, response: web.WebSocketResponse) -> None:
    """Raises InvalidHttp, or aiohttp's error for a bad handshake."""
    if not request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").isascii():
        raise InvalidHttp  # aiohttp's base64 decoder would fail
    await response.prepare(request)


def _token(request: web.Request) -> str | None:
    """The session token of the request: from the query, since browsers cannot send headers, or the header."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == BEARER.lower() else None
    return request.query.get("token", bearer)
