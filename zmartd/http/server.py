"""The connections of the daemon's server: what no application gets to see is answered as the API answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.typedefs import Middleware

from zmartd.http.codec import json_response
from zmartd.http.errors import InvalidHttp, Unexpected, body_of
from zmartd.http.middleware import access_log
from zmartd.http.middleware.security_headers import secure
from zmartd.log import get_logger

_OF_THE_CALLER = (HttpProcessingError, web.RequestPayloadError)

log = get_logger(__name__)


class Connection(web.RequestHandler):
    """A connection whose malformed requests get the one shape of errors, and are no errors of ours."""

    __slots__ = ()

    new_request_id = staticmethod(access_log.numbered())

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
            log.info("http.malformed", reason=type(exc).__name__, request_id=request_id)
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


class Server(web.Server):
    """Makes the connections."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on such connections, with `around` about each handler and the router's refusals.

    An application's own middlewares are not asked. They would cost a request as much as two of our steps:
    aiohttp looks up for each the chain of functions that it made of them.

    Compressed bodies are left as they are. aiohttp would decompress also those that nobody reads, to throw
    them away: a megabyte from anybody at all then held the event loop up for a second.
    """

    def __init__(self, app: web.Application, around: Middleware, **options: Any) -> None:
        super().__init__(app, auto_decompress=False, **options)
        self._around = around

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle = cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", self._handle)
        return Server(handle, request_factory=made.request_factory, **made._kwargs)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """What an application does with a request that has no middlewares."""
        match = await self._app.router.resolve(request)
        match.add_app(self._app)
        match.freeze()
        request._match_info = match
        if hdrs.EXPECT in request.headers:
            refused: web.StreamResponse | None = await match.expect_handler(request)
            if refused is not None:
                return refused
        return await self._around(request, match.handler)


def _said_of(error: BaseException) -> str:
    if isinstance(error, LineTooLong):
        return "The request's first line or one of its headers is too long: at most 8190 bytes are read."
    if isinstance(error, BadHttpMethod):
        return "The request's method is none that HTTP has."
    return "The request is not HTTP/1.1."
