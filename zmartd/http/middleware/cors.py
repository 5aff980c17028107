"""Which browser origins may call the API, from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import aiohttp_cors
from aiohttp import web

_OPTIONS = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # no annotations there
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


BrowserHeaders = Callable[[web.Request, web.StreamResponse], Awaitable[object]]
"""Adds to an answer what the origin of a request is allowed."""


def install(
    app: web.Application, routes: Iterable[web.AbstractRoute], origins: Sequence[str]
) -> BrowserHeaders:
    """Let browsers of `origins` call `routes`; answers their preflights, and refuses those of any other.

    What this gives has to be called for every answer to a request with an Origin.
    """
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, _OPTIONS))
    for route in routes:
        cors.add(route)
    # A signal is awaited for every answer, and few requests have an origin.
    return app.on_response_prepare.pop()
