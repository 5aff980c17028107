"""CORS: the browser origins that may call the API, from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiohttp_cors
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp_cors.urldispatcher_router_adapter import ResourcesUrlDispatcherRouterAdapter

_OPTIONS = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # it has no annotations
    allow_credentials=True,
    allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"),
    expose_headers=(
        "X-Request-Id",
        "Retry-After",
        "Location",
        "ETag",
        "Link",
        "X-Next-Cursor",
        "Idempotency-Replayed",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "RateLimit-Policy",
    ),
    max_age=600,
)

AddCorsHeaders = Callable[[web.Request, web.StreamResponse], Awaitable[object]]
"""Adds the CORS headers to the response to a request that has an Origin."""


class _Preflights(ResourcesUrlDispatcherRouterAdapter):
    """Adds routes for preflights with handlers that are wrapped as all others are."""

    def __init__(self, router: web.UrlDispatcher, defaults: Any, wrap: Callable[[Handler], Handler]) -> None:
        super().__init__(router, defaults)
        self._wrap = wrap

    def add_preflight_handler(self, routing_entity: Any, handler: Handler, webview: bool = False) -> None:
        super().add_preflight_handler(routing_entity, self._wrap(handler))


def install(
    app: web.Application,
    routes: Iterable[web.AbstractRoute],
    origins: Sequence[str],
    wrap: Callable[[Handler], Handler],
) -> AddCorsHeaders:
    """Let pages of `origins` call `routes`: add routes that answer their preflights and refuse all others.

    The caller has to call the returned function for every response to a request that has an Origin.
    """
    defaults = dict.fromkeys(origins, _OPTIONS)
    preflights = _Preflights(app.router, defaults, wrap)
    cors = aiohttp_cors.CorsConfig(app, defaults=defaults, router_adapter=preflights)
    for route in routes:
        cors.add(route)
    # A signal would be awaited for every response, and few requests have an Origin.
    return app.on_response_prepare.pop()
