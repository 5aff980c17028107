"""CORS: the browser origins that may call the API, from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import aiohttp_cors
from aiohttp import web

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


def install(
    app: web.Application, routes: Iterable[web.AbstractRoute], origins: Sequence[str]
) -> AddCorsHeaders:
    """Let pages of `origins` call `routes`: add routes that answer their preflights and refuse all others.

    The caller has to call the returned function for every response to a request that has an Origin.
    """
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, _OPTIONS))
    for route in routes:
        cors.add(route)
    # A signal would be awaited for every response, and few requests have an Origin.
    return app.on_response_prepare.pop()
