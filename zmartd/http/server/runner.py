"""The daemon's HTTP server: its connections, how many there are, and how long each step may take.

What no application gets to see is answered as the API answers: requests that are not HTTP, connections that
are too many, bodies that come too slowly.
"""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport, Transport
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from aiohttp import web
from aiohttp.http import WebSocketReader
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpParser

from zmartd.clock import Clock
from zmartd.http.errors.requests import InvalidHttp, RequestTooSlow, ServerFull, Unexpected
from zmartd.http.errors.statuses import body_of
from zmartd.http.kit import keys
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.log_rate_limit import Sparing
from zmartd.http.middleware import access_log
from zmartd.http.middleware.security_headers import secure
from zmartd.http.server.connection_limits import ConnectionLimits
from zmartd.http.server.raw_answer import raw_answer
from zmartd.http.server.request_head import MAX_HEAD_BYTES, MAX_HEADERS, HeadLimit, HeadTooLong
from zmartd.http.server.timeouts import Deadlines, Step
from zmartd.log import get_logger

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SWEEP_SECONDS = 1.0
"""How often all connections are looked at."""
_OF_THE_CALLER = (HttpProcessingError, web.RequestPayloadError)

log = get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection. Malformed requests get the one shape of errors, and are no errors of ours."""

    __slots__ = ("_is_websocket", "_screen", "_server", "heard", "peer", "waits")

    new_request_id = staticmethod(access_log.numbered())

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        assert self._parser is not None, "aiohttp makes it"
        self._parser = cast("HttpParser[Any]", HeadLimit(self._parser))
        self._server = server
        self._screen: Callable[[bytes], bool] | None = None
        self._is_websocket = False
        self.heard = False
        """Whether bytes came since the last request was over."""
        self.waits = (Step.NONE, 0, 0.0)
        self.peer: Transport | None = None
        """The transport for as long as it exists; aiohttp lets go of it when it begins to close."""

    def connection_made(self, transport: BaseTransport) -> None:
        self.peer = cast("Transport", transport)
        if self._server.limits.admit(self.peer):
            super().connection_made(transport)
            return
        self.peer.write(raw_answer(ServerFull(), self.new_request_id()))
        self.force_close()
        self.peer.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.peer is not None:
            self._server.limits.leave(self.peer)
            self.peer = None

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if not self._is_websocket or self._passes(data):
            super().data_received(data)

    def screen_frames(self, screen: Callable[[bytes], bool]) -> None:
        """Show `screen` all that comes once this is a WebSocket. What it says no to is not read."""
        self._screen = screen

    def set_parser(self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """The connection has become a WebSocket: what came behind the handshake is its first frames."""
        self._is_websocket = True
        if self._message_tail and not self._passes(self._message_tail):
            self._message_tail = b""
        super().set_parser(parser, data_received_cb)

    def _passes(self, data: bytes) -> bool:
        if not self._close and (self._screen is None or self._screen(data)):
            return True
        if self.peer is not None:
            self.peer.pause_reading()
        return False

    @property
    def step(self) -> tuple[Step, int]:
        """What the connection waits for, and in which of its requests."""
        step = self._step()
        # Answers wait for the peer together: asking for more of them gains it no time.
        return step, 0 if step is Step.ANSWER else self._request_count

    def _step(self) -> Step:
        if self._is_websocket:
            return Step.NONE  # it has its own heartbeat
        request = self._current_request
        if request is not None and not request.content.is_eof():
            return Step.BODY
        if self.peer is not None and self.peer.get_write_buffer_size():
            return Step.ANSWER
        if request is not None:
            return Step.NONE
        return Step.HEAD if self.heard or self._request_count == 0 else Step.IDLE

    @property
    def body_bytes(self) -> int:
        """How much has come of the body of the request that is being answered."""
        return 0 if self._current_request is None else self._current_request.content.total_bytes

    def expire(self, step: Step) -> None:
        """Let go of a peer that takes too long; one that sends its body too slowly is told so."""
        if self.peer is None:
            return
        request = self._current_request
        has_said_nothing = request is not None and request.writer.output_size == 0 and not self._force_close
        if step is Step.BODY and has_said_nothing:
            self.peer.write(raw_answer(RequestTooSlow(), self.new_request_id()))
            self.force_close()
        else:
            self.peer.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP, or not as much of it as the parser takes."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: it can be no other any more")
        request_id = self.new_request_id()
        if isinstance(exc, _OF_THE_CALLER):
            malformed = self._server.malformed
            if malformed.admits():
                reason, others = type(exc).__name__, malformed.left_out()
                log.info("http.malformed", reason=reason, request_id=request_id, not_logged=others)
            error = body_of(InvalidHttp(_said_of(exc)), request_id)
        else:
            log.error("http.failed", exc_info=exc, request_id=request_id)
            error = body_of(Unexpected(), request_id)
        response = json_response(error, error.status)
        response.headers[access_log.HEADER] = request_id
        secure(response.headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What a caller got wrong is told to the caller."""
        if not isinstance(kw.get("exc_info"), _OF_THE_CALLER):
            super().log_exception(*args, **kw)


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that a request came by."""
    connection = request.protocol
    assert isinstance(connection, Connection), "the server of this module makes no others"
    return connection


class Server(web.Server):
    """Makes the connections, within `limits`."""

    limits: ConnectionLimits
    malformed: Sparing
    """Lines about what is not HTTP."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on such connections.

    Compressed bodies are left as they are. aiohttp would decompress also those that nobody reads, to throw
    them away: a megabyte from anybody at all then held the event loop up for a second.
    """

    def __init__(
        self,
        app: web.Application,
        limits: ConnectionLimits,
        deadlines: Deadlines,
        clock: Clock,
        **options: Any,
    ) -> None:
        app[keys.BODIES_AS_SENT] = True
        super().__init__(
            app,
            auto_decompress=False,
            keepalive_timeout=deadlines.keepalive_seconds,
            max_headers=MAX_HEADERS,
            **options,
        )
        self._limits = limits
        self._clock = clock
        self._malformed = Sparing(clock)
        self._deadlines = deadlines
        self._sweeping: asyncio.Task[None] | None = None

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = Server(_answered(made.request_handler), request_factory=made.request_factory, **made._kwargs)
        server.limits, server.malformed = self._limits, self._malformed
        self._sweeping = asyncio.create_task(self._sweep(server), name="sweep of connections")
        return server

    async def _sweep(self, server: Server) -> None:
        """Let go of connections whose peers are too slow, and of those that have to make room."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                connections = cast("list[Connection]", server.connections)
                self._deadlines.look(connections)
                self._make_room(connections)
            except Exception:
                log.exception("http.sweep_failed")

    def _make_room(self, connections: Sequence[Connection]) -> None:
        waiting = {
            connection.peer: connection
            for connection in connections
            if connection.peer is not None and connection.step[0] is not Step.NONE
        }
        for transport in self._limits.to_let_go(waiting):
            connection = waiting[transport]
            connection.expire(connection.step[0])

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)


def _answered(handle: Handle) -> Handle:
    """`handle`, after which the connection waits for its next request."""

    async def answered(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        finally:
            connection_of(request).heard = False

    return answered


def _said_of(error: BaseException) -> str:
    if isinstance(error, HeadTooLong):
        return f"The request's first line and headers are too long: at most {MAX_HEAD_BYTES} bytes are read."
    if isinstance(error, LineTooLong):
        return "The request's first line or one of its headers is too long: at most 8190 bytes are read."
    if isinstance(error, BadHttpMethod):
        return "The request's method is none that HTTP has."
    return "The request is not HTTP/1.1."
