"""GET /ws: where an HTTP request becomes a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import Gauge

from zmartd.clock import Clock
from zmartd.config import Realtime
from zmartd.http.auth.authenticator import BEARER
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.requests import InvalidHttp, RouteNotFound
from zmartd.http.errors.websocket import UpgradeRequired
from zmartd.http.kit.client_address import client_of
from zmartd.http.server.runner import Connection as ServerConnection
from zmartd.http.ws.connection import Connection
from zmartd.http.ws.frame_limits import Screen
from zmartd.http.ws.limits import Seats
from zmartd.http.ws.outlet import CLOSE_SECONDS, TransportOutlet
from zmartd.http.ws.session_monitor import SignedIn
from zmartd.log import get_logger
from zmartd.realtime.hub import Hub

GOING_AWAY = 1001
INTERNAL_ERROR = 1011

log = get_logger(__name__)

_connections = Gauge("zmartd_websocket_connections", "Open WebSocket connections")


class WebSocketEndpoint:
    """Accepts WebSocket connections within the limits of `settings`, and closes them at shutdown.

    `watch_sessions` has to be running for clients to be signed out.
    """

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        settings: Realtime,
        clock: Clock,
        new_client_id: Callable[[], str],
    ) -> None:
        self._hub = hub
        self._sessions = sessions
        self._signed_in = SignedIn(sessions, clock)
        self._settings = settings
        self._clock = clock
        self._new_client_id = new_client_id
        self._seats = Seats(settings.max_connections_per_ip)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it is gone. Raises UpgradeRequired, TooManyConnections."""
        if not _wants_upgrade(request):
            raise UpgradeRequired
        with self._seats.seat(client_of(request)), _connections.track_inprogress():
            screen = Screen(self._settings, self._clock)
            if isinstance(request.protocol, ServerConnection):
                request.protocol.screen_frames(screen.passes)
            response = web.WebSocketResponse(
                heartbeat=self._settings.heartbeat_seconds,
                max_msg_size=self._settings.max_message_bytes,
                timeout=CLOSE_SECONDS,
                compress=False,
            )
            await _upgrade(request, response)
            if request.transport is not None:
                outlet = TransportOutlet(response, request.transport)
                await self._converse(request, response, outlet, screen)
            return response

    async def serve_root(self, request: web.Request) -> web.StreamResponse:
        """The root path, where the browser client connects to by default."""
        if not _wants_upgrade(request):
            raise RouteNotFound
        return await self.serve(request)

    async def watch_sessions(self) -> None:
        """Sign clients out whose session ends, until cancelled."""
        await self._signed_in.run()

    async def close(self, _: web.Application) -> None:
        """Tell every client to come back soon; an `on_shutdown` signal.

        The browser client does not reconnect after the normal code 1000.
        """
        self._hub.close(GOING_AWAY, "the server is restarting; connect again")

    async def _converse(
        self,
        request: web.Request,
        response: web.WebSocketResponse,
        outlet: TransportOutlet,
        screen: Screen,
    ) -> None:
        client = self._hub.connect(outlet)
        connection = Connection(
            response=response,
            client=client,
            hub=self._hub,
            sessions=self._sessions,
            signed_in=self._signed_in,
            clock=self._clock,
        )
        screen.when_refused(connection.refuse_frames)
        try:
            await connection.run(self._new_client_id(), _token(request))
        except Exception:
            # The HTTP answer has been given already; no middleware can turn this into another one.
            log.exception("websocket.failed")
            outlet.close(INTERNAL_ERROR, "something went wrong on our side")
        finally:
            self._hub.disconnect(client)
            outlet.release()


WEBSOCKET: Final[web.AppKey[WebSocketEndpoint]] = web.AppKey("websocket")


def _wants_upgrade(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


async def _upgrade(request: web.Request, response: web.WebSocketResponse) -> None:
    """Raises InvalidHttp, or aiohttp's own refusal of a handshake."""
    if not request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").isascii():
        raise InvalidHttp  # aiohttp's decoder of base64 fails with it
    await response.prepare(request)


def _token(request: web.Request) -> str | None:
    """The session token that came with the request: in the query, as browsers must, or as a header."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == BEARER.lower() else None
    return request.query.get("token", bearer)
