"""Turns every error into a JSON response, with the status of `zmartd.http.errors.statuses`."""

from __future__ import annotations

import msgspec
from aiohttp import hdrs, web

from zmartd.chain.failures import ProgramRefused
from zmartd.errors import DetailedError, ZmartdError
from zmartd.http.errors.requests import (
    RETRY_AFTER_SECONDS,
    CorsRefused,
    InvalidHttp,
    MethodNotAllowed,
    Unexpected,
)
from zmartd.http.errors.statuses import error_body
from zmartd.http.kit import development_chain
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.development_chain import DEVELOPMENT_CHAIN
from zmartd.log import CURRENT_REQUEST_ID, get_logger

log = get_logger(__name__)


def response_to(request: web.Request, error: Exception) -> web.Response:
    """The response to a request whose handler raised `error`. Raises `error` if it is not a failure."""
    if isinstance(error, ZmartdError):
        return error_response(request, error)
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        return _from_aiohttp(request, error)
    log.error("http.failed", path=request.path, exc_info=error)
    return error_response(request, Unexpected())


def error_response(request: web.Request, error: ZmartdError) -> web.Response:
    """The response that tells the caller of `error`."""
    body = error_body(error, CURRENT_REQUEST_ID.get())
    hint = development_chain.HINTS.get(error.failure.name) if isinstance(error, ProgramRefused) else None
    if hint is not None and request.app.get(DEVELOPMENT_CHAIN) is not None:
        body = msgspec.structs.replace(body, message=f"{body.message.rstrip('.')}. {hint}")
    if body.status == 500 and not isinstance(error, Unexpected):
        log.error("http.failed", path=request.path, exc_info=error)
    if body.status == 503:
        log.warning("http.unavailable", path=request.path, code=error.code, reason=error.message)
    response = json_response(body, body.status)
    details = error.details if isinstance(error, DetailedError) else None
    seconds = getattr(details, "retry_after_seconds", None)
    if body.status in {429, 503} or seconds is not None:
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS if seconds is None else seconds)
    if body.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="zmartd"'
    if isinstance(error, MethodNotAllowed):
        response.headers[hdrs.ALLOW] = error.methods
    if body.status == 426:
        response.headers[hdrs.UPGRADE] = "websocket"
    return response


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    """The response to what aiohttp refuses, such as a bad WebSocket handshake or a preflight (aiohttp_cors).

    OPTIONS without an Origin is no preflight: it asks for the methods of the path.
    """
    if error.status == 403 and hdrs.ORIGIN not in request.headers:
        methods = {route.method for route in request.match_info.route.resource or ()}
        return web.Response(status=204, headers={hdrs.ALLOW: ",".join(sorted(methods))})
    return error_response(request, CorsRefused() if error.status == 403 else InvalidHttp())
