"""The connections of the daemon's server: what no application gets to see is answered as the API answers."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

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
    """Runs an application on such connections."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(made.request_handler, request_factory=made.request_factory, **made._kwargs)


def _said_of(error: BaseException) -> str:
    if isinstance(error, LineTooLong):
        return "The request's first line or one of its headers is too long: at most 8190 bytes are read."
    if isinstance(error, BadHttpMethod):
        return "The request's method is none that HTTP has."
    return "The request is not HTTP/1.1."
