"""Whatever goes wrong becomes the one JSON shape with the one status that `zmartd.http.errors` gives it."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from zmartd.errors import ZmartdError
from zmartd.http.codec import json_response
from zmartd.http.errors import (
    RETRY_AFTER_SECONDS,
    BodyTooLarge,
    CorsRefused,
    InvalidHttp,
    MethodNotAllowed,
    RouteNotFound,
    Unexpected,
    body_of,
)
from zmartd.http.middleware.access_log import REQUEST_ID
from zmartd.log import get_logger

log = get_logger(__name__)

_REFUSALS: dict[int, type[ZmartdError]] = {
    403: CorsRefused,
    404: RouteNotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
}


def errors() -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ZmartdError as error:
            return error_response(request, error)
        except web.HTTPException as refusal:
            if refusal.status < 400:
                raise
            return _refused(request, refusal)
        except Exception:
            log.exception("http.failed", path=request.path)
            return error_response(request, Unexpected())

    return middleware


def error_response(request: web.Request, error: ZmartdError) -> web.Response:
    """`error` as the caller sees it."""
    body = body_of(error, request[REQUEST_ID])
    if body.status == 500 and not isinstance(error, Unexpected):
        log.error("http.failed", path=request.path, exc_info=error)
    if body.status == 503:
        log.warning("http.unavailable", path=request.path, code=error.code, reason=error.message)
    response = json_response(body, body.status)
    if body.status in {429, 503} or "retry_after_seconds" in error.details:
        seconds = error.details.get("retry_after_seconds", RETRY_AFTER_SECONDS)
        response.headers[hdrs.RETRY_AFTER] = str(seconds)
    if body.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="zmartd"'
    if body.status == 426:
        response.headers[hdrs.UPGRADE] = "websocket"
    return response


def _refused(request: web.Request, refusal: web.HTTPException) -> web.Response:
    """What aiohttp itself refused: no such route, a wrong method, a preflight from an unknown origin."""
    response = error_response(request, _REFUSALS.get(refusal.status, InvalidHttp)())
    if hdrs.ALLOW in refusal.headers:
        response.headers[hdrs.ALLOW] = refusal.headers[hdrs.ALLOW]
    return response
