"""One connection of the HTTP server, and the server that makes them.

The server itself answers what does not reach the application, in the API's form: requests that are not HTTP,
connections over the limit, bodies that arrive too slowly.
"""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    HttpProcessingError,
    InvalidURLError,
    LineTooLong,
)
from aiohttp.http_parser import HttpParser
from multidict import CIMultiDict

from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import (
    RETRY_AFTER_SECONDS,
    InvalidHttp,
    RequestTooSlow,
    ServerFull,
    Unexpected,
)
from zmartd.http.errors.statuses import error_body
from zmartd.http.kit.codec import encode_body, json_response
from zmartd.http.kit.log_rate_limit import LogRateLimit
from zmartd.http.middleware import access_log
from zmartd.http.middleware.cors import CorsHeaders
from zmartd.http.middleware.security_headers import add_security_headers
from zmartd.http.server.connection_limits import ConnectionLimits
from zmartd.http.server.request_head import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    HeadLimitParser,
    HeadTooLong,
    NotAPath,
)
from zmartd.http.server.timeouts import CLOSING_SECONDS, Phase
from zmartd.log import get_logger

_TOO_MANY = "Too many headers"
"""How aiohttp's message begins for more headers than it takes; it has no class of its own for that."""
_CLIENT_ERRORS = (HttpProcessingError, web.RequestPayloadError)

log = get_logger(__name__)


class HttpConnection(web.RequestHandler):
    """One connection. Malformed requests get an error of the API, and are not logged as errors."""

    __slots__ = (
        "_is_closing",
        "_lost",
        "_server",
        "_successor",
        "has_received",
        "peer_transport",
        "phase_since",
    )

    new_request_id = staticmethod(access_log.request_id_source())

    def __init__(self, server: HttpServer, **options: Any) -> None:
        super().__init__(server, **options)
        assert self._parser is not None, "aiohttp makes it"
        self._parser = cast("HttpParser[Any]", HeadLimitParser(self._parser))
        self._server = server
        self._is_closing = False
        """Whether the last response has been written, and what still comes is discarded."""
        self._successor: asyncio.Protocol | None = None
        """The protocol that the connection was handed over to."""
        self._lost: asyncio.Future[None] | None = None
        """Done when the connection is lost, where this object still is the transport's protocol."""
        self.has_received = False
        """Whether bytes have arrived since the last request ended."""
        self.phase_since = (Phase.NONE, 0, 0.0)
        self.peer_transport: Transport | None = None
        """The transport until it is closed. aiohttp's own is None as soon as closing begins."""

    def connection_made(self, transport: BaseTransport) -> None:
        self.peer_transport = cast("Transport", transport)
        if self._server.limits.admit(self.peer_transport):
            super().connection_made(transport)
            return
        self.peer_transport.write(_error_bytes(ServerFull(), self.new_request_id()))
        if self._server.limits.let_read_refusal(self.peer_transport):
            self._loop.call_later(CLOSING_SECONDS, self.peer_transport.abort)
            self._stop_writing()
        else:
            self.force_close()
            self.peer_transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.peer_transport is not None:
            self._server.limits.release(self.peer_transport)
            self.peer_transport = None
        if self._lost is not None:
            assert self._successor is not None, "it was handed over"
            self._successor.connection_lost(cast("Exception | None", exc))
            self._lost.set_result(None)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        await super().shutdown(timeout)
        if self._is_closing and self.peer_transport is not None:
            self.peer_transport.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, as aiohttp does, and stop writing after the last one.

        One that refuses a client for its many requests is the last one where more of them are waiting: each
        would cost as much as an answer, and bring nothing. So is every one while the server drains.
        """
        refuses_many = resp is not None and resp.status == HTTPStatus.TOO_MANY_REQUESTS and self._messages
        if resp is not None and (refuses_many or self._server.is_draining):
            resp.force_close()
        sent, is_broken = await super().finish_response(request, resp, start_time)
        if not (sent.keep_alive or is_broken or self._successor):
            self._stop_writing()
        return sent, is_broken

    def _stop_writing(self) -> None:
        """End the output, and discard input until the peer closes, or for CLOSING_SECONDS.

        To close at once would reset the connection where the peer still sends, and its system may then drop
        what it has not read: the response (RFC 9112, section 9.6).
        """
        transport = self.peer_transport
        if transport is not None and not transport.is_closing():
            self._is_closing = True
            transport.write_eof()
            transport.resume_reading()
            self.transport = None  # aiohttp would close it
        self.force_close()

    def data_received(self, data: bytes) -> None:
        self.has_received = True
        if self._successor is None:
            super().data_received(data)
        else:
            self._successor.data_received(data)

    @property
    def is_upgraded(self) -> bool:
        """Whether what follows the present request is not HTTP."""
        return bool(self._upgraded)

    @property
    def limits(self) -> ConnectionLimits:
        """The limits in which the connection counts."""
        return self._server.limits

    async def hand_over(self, protocol: asyncio.Protocol, start: Callable[[bytes], None]) -> None:
        """Let `protocol` go on with the connection. `start` is called with what came behind the request.

        Returns when aiohttp has no more to do with it: at once, or where its inside is not known, when the
        connection is lost. `protocol` releases its place in `limits`.
        """
        transport = self.peer_transport
        assert transport is not None, "the connection is open"
        self._successor = protocol
        if not self._server.hands_over:
            self._lost = self._loop.create_future()
            received = _Received()
            self.set_parser(cast("Any", received))
            start(received.data)
            await self._lost
            return
        received_bytes, self._message_tail = self._message_tail, b""
        self.peer_transport = self.transport = None  # aiohttp would close it
        transport.set_protocol(protocol)
        super().connection_lost(None)
        start(received_bytes)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._successor is not None:
            self._successor.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._successor is not None:
            self._successor.resume_writing()

    @property
    def phase(self) -> tuple[Phase, int]:
        """The phase, and the number of the request that it belongs to."""
        phase = self._phase()
        # One timeout for all responses that are not read: pipelining more requests gains a peer no time.
        return phase, 0 if phase is Phase.RESPONSE else self._request_count

    def _phase(self) -> Phase:
        if self._successor is not None:
            return Phase.NONE  # it has its own timeouts
        request = self._current_request
        if request is not None and not request.content.is_eof() and not self._is_closing:
            return Phase.BODY
        if self.peer_transport is not None and self.peer_transport.get_write_buffer_size():
            return Phase.RESPONSE
        if self._is_closing:
            return Phase.CLOSING
        if request is not None:
            return Phase.NONE
        return Phase.HEAD if self.has_received or self._request_count == 0 else Phase.IDLE

    @property
    def body_bytes(self) -> int:
        """The bytes received of the body of the current request."""
        return 0 if self._current_request is None else self._current_request.content.total_bytes

    def expire(self, phase: Phase) -> None:
        """Close the connection; send RequestTooSlow first where a body is late and no response has begun."""
        if self.peer_transport is None:
            return
        request = self._current_request
        is_unanswered = request is not None and request.writer.output_size == 0 and not self._force_close
        if phase is Phase.BODY and request is not None and is_unanswered:
            cors = self._cors_headers(request.headers.get(hdrs.ORIGIN))
            self.peer_transport.write(_error_bytes(RequestTooSlow(), self.new_request_id(), cors))
            self._stop_writing()
            request.content.set_exception(ConnectionResetError("the body was too slow"))
        else:
            self.peer_transport.abort()

    def _cors_headers(self, origin: str | None) -> CIMultiDict[str]:
        headers: CIMultiDict[str] = CIMultiDict()
        if self._server.cors is not None:
            self._server.cors.add(headers, origin)
        return headers

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a request that the parser refuses."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun, so it cannot become an error")
        request_id = self.new_request_id()
        if isinstance(exc, _CLIENT_ERRORS):
            malformed = self._server.malformed
            if malformed.allow():
                reason, suppressed = type(exc).__name__, malformed.take_suppressed()
                log.info("http.malformed", reason=reason, request_id=request_id, not_logged=suppressed)
            error = error_body(InvalidHttp(_message_for(exc)), request_id)
        else:
            log.error("http.failed", exc_info=exc, request_id=request_id)
            error = error_body(Unexpected(), request_id)
        response = json_response(error, error.status)
        response.headers[access_log.REQUEST_ID] = request_id
        add_security_headers(response.headers)
        if isinstance(exc, HeadTooLong):  # of no other malformed request the headers are known
            response.headers.update(self._cors_headers(exc.origin))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log no error of the client: its response names it."""
        if not isinstance(kw.get("exc_info"), _CLIENT_ERRORS):
            super().log_exception(*args, **kw)


class HttpServer(web.Server):
    """Makes the connections."""

    limits: ConnectionLimits
    malformed: LogRateLimit
    """Limits the log lines about malformed requests."""
    cors: CorsHeaders | None
    hands_over: bool
    """Whether connections can be taken away from aiohttp."""
    is_draining = False
    """Whether the daemon is about to end: each response says that it is the last one on its connection."""

    def __call__(self) -> HttpConnection:
        return HttpConnection(self, loop=self._loop, **self._kwargs)


class _Received:
    """Takes what came behind a request, in the place of aiohttp's parser of WebSockets."""

    data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing more comes."""


class Takeable(Protocol):
    """A connection that can be handed over to another protocol."""

    @property
    def is_upgraded(self) -> bool:
        """Whether what follows the present request is not HTTP."""

    @property
    def peer_transport(self) -> Transport | None:
        """The transport until it is closed."""

    @property
    def limits(self) -> Releases:
        """Where the connection counts."""

    async def hand_over(self, protocol: asyncio.Protocol, start: Callable[[bytes], None]) -> None:
        """Let `protocol` go on with the connection. `start` is called with what came behind the request."""


class Releases(Protocol):
    """Where connections count."""

    def release(self, transport: Transport) -> None:
        """Stop counting one."""


class PlainConnection:
    """A connection of a server of aiohttp's, which has no limits."""

    def __init__(self, handler: web.RequestHandler) -> None:
        self._handler = handler

    @property
    def is_upgraded(self) -> bool:
        return bool(self._handler._upgraded)

    @property
    def peer_transport(self) -> Transport | None:
        return self._handler.transport

    @property
    def limits(self) -> Releases:
        return self

    def release(self, transport: Transport) -> None:
        """It counts nowhere."""

    async def hand_over(self, protocol: asyncio.Protocol, start: Callable[[bytes], None]) -> None:
        transport = self.peer_transport
        assert transport is not None, "the connection is open"
        received, self._handler._message_tail = self._handler._message_tail, b""
        self._handler.transport = None  # aiohttp would close it
        transport.set_protocol(protocol)
        self._handler.connection_lost(None)
        start(received)


def connection_of(request: web.BaseRequest) -> HttpConnection:
    """The connection of a request to the daemon's own server."""
    connection = request.protocol
    assert isinstance(connection, HttpConnection), "HttpServer makes no others"
    return connection


def takeable_connection(request: web.BaseRequest) -> Takeable:
    """The connection of a request to any server of aiohttp's."""
    connection = request.protocol
    return connection if isinstance(connection, HttpConnection) else PlainConnection(connection)


def _message_for(error: BaseException) -> str:
    if isinstance(error, HeadTooLong):
        return f"The request line and the headers are too long: send at most {MAX_HEAD_BYTES} bytes of them."
    if isinstance(error, NotAPath | InvalidURLError):
        return "The request's target is not a path: begin it with a slash."
    if isinstance(error, BadHttpMessage) and error.message.startswith(_TOO_MANY):
        return f"The request has too many headers: send at most {MAX_HEADERS}."
    if isinstance(error, LineTooLong):
        return "The request line or a header is too long: send at most 8190 bytes a line."
    if isinstance(error, BadHttpMethod):
        return "The request's method is not one of HTTP."
    return "The request is not HTTP/1.1."


def _error_bytes(error: ZmartdError, request_id: str, more_headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 response, written past the application. The connection is closed after it."""
    body = error_body(error, request_id)
    content = encode_body(body)
    headers: CIMultiDict[str] = CIMultiDict(
        {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_LENGTH: str(len(content)),
            hdrs.CONNECTION: "close",
            access_log.REQUEST_ID: request_id,
            **(more_headers or {}),
        }
    )
    if body.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    add_security_headers(headers)
    lines = [f"HTTP/1.1 {body.status} {HTTPStatus(body.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content
