"""CORS: the browser origins that may call the API, from the settings. In development all of this machine may.

Every response lets an allowed origin read it, errors too: a page that cannot read a refusal cannot say what
to do. Preflights say which methods and headers an allowed origin may send. They are granted for paths and
methods that do not exist as well, so that the 404 or 405 can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final

import aiohttp_cors
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from aiohttp_cors.urldispatcher_router_adapter import ResourcesUrlDispatcherRouterAdapter
from multidict import CIMultiDict

from zmartd.endpoint import is_loopback_url
from zmartd.http.kit import expectations

REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Pragma",
    "X-Request-Id",
    "X-Requested-With",
    # What tracing adds to requests: W3C Trace Context and Baggage, and Sentry's own.
    "baggage",
    "sentry-trace",
    "traceparent",
    "tracestate",
)
"""What pages may send."""
RESPONSE_HEADERS = (
    "Allow",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Policy",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Stream-Position",
    "WWW-Authenticate",
    "X-Next-Cursor",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
)
"""What pages may read, besides the headers that any page may."""

_PREFLIGHT = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # it has no annotations
    allow_credentials=True, allow_headers=REQUEST_HEADERS, max_age=600
)
_KNOWN = frozenset(name.lower() for name in REQUEST_HEADERS)


class AllowedOrigins:
    """The origins that may call the API: the named ones, and with `every_loopback` all of this machine."""

    def __init__(self, named: Sequence[str], *, every_loopback: bool) -> None:
        self._named = frozenset(named)
        self._every_loopback = every_loopback

    def __contains__(self, origin: object) -> bool:
        return origin in self._named or (self._every_loopback and is_loopback_url(str(origin)))


class CorsHeaders:
    """Adds to responses what lets pages of `origins` read them."""

    def __init__(self, origins: Container[str]) -> None:
        self._origins = origins
        self._headers = {
            hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS: "true",
            hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: ",".join(RESPONSE_HEADERS),
        }

    def add(self, headers: CIMultiDict[str], origin: str | None) -> None:
        """Add to the headers of the response to a request from `origin`; nothing for other origins."""
        if origin is not None and origin in self._origins:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers.update(self._headers)


CORS: Final[web.AppKey[CorsHeaders]] = web.AppKey("cors")


class _Preflights(ResourcesUrlDispatcherRouterAdapter):
    """Adds routes for preflights with handlers that are wrapped as all others are: one for each path."""

    def __init__(
        self, router: web.UrlDispatcher, origins: Container[str], wrap: Callable[[Handler], Handler]
    ) -> None:
        super().__init__(router, {})
        self._origins = origins
        self._wrap = wrap
        self.handler: Handler | None = None
        """The handler of every preflight; None before the first route is added."""

    def add_preflight_handler(self, routing_entity: Any, handler: Handler, webview: bool = False) -> None:
        resource = routing_entity.resource
        if resource in self._resources_with_preflight_handlers:
            return
        self.handler = _leaving_out_unknown_headers(handler)
        route = resource.add_route(
            hdrs.METH_OPTIONS, self._wrap(self.handler), expect_handler=expectations.send_continue
        )
        self._preflight_routes.add(route)
        self._resources_with_preflight_handlers.add(resource)

    async def get_preflight_request_config(
        self, preflight_request: web.Request, origin: str, requested_method: str
    ) -> Any:
        return {origin: _PREFLIGHT} if origin in self._origins else {}


def install(
    app: web.Application,
    routes: Iterable[web.AbstractRoute],
    origins: Container[str],
    wrap: Callable[[Handler], Handler],
) -> Handler | None:
    """Let pages of `origins` call `routes`: add routes that answer their preflights, and set CORS.

    Returns the handler for preflights of all other paths.
    """
    app[CORS] = CorsHeaders(origins)
    preflights = _Preflights(app.router, origins, wrap)
    # It adds headers to the responses of an application that serves nothing. Ours needs them on responses to
    # requests that no route takes, too.
    config = aiohttp_cors.CorsConfig(web.Application(), defaults={}, router_adapter=preflights)
    for route in routes:
        config.add(route)
    return preflights.handler


def _leaving_out_unknown_headers(preflight: Handler) -> Handler:
    """`preflight`, which refuses a request that names an unknown header.

    A browser says of a refused preflight no more than that it failed. Where the header is merely not among
    the allowed ones, it names the header.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
        if asked is not None:
            known = [name for name in asked.split(",") if name.strip().lower() in _KNOWN]
            headers = CIMultiDict(request.headers)
            headers[hdrs.ACCESS_CONTROL_REQUEST_HEADERS] = ",".join(known)
            request = request.clone(headers=headers)
        return await preflight(request)

    return handle
