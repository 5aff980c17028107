"""Which browser origins may call the API, from the settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import aiohttp_cors
from aiohttp import hdrs, web

_OPTIONS = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # no annotations there
    allow_credentials=True,
    allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"),
    expose_headers=(
        "X-Request-Id",
        "Retry-After",
        "Location",
        "ETag",
        "Idempotency-Replayed",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
    ),
    max_age=600,
)


def install(app: web.Application, routes: Iterable[web.AbstractRoute], origins: Sequence[str]) -> None:
    """Let browsers of `origins` call `routes`; answers their preflights, and refuses those of any other."""
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, _OPTIONS))
    add_headers = app.on_response_prepare.pop()

    async def answer_browsers(request: web.Request, response: web.StreamResponse) -> None:
        if hdrs.ORIGIN in request.headers:  # what a route allows takes long to find
            await add_headers(request, response)

    app.on_response_prepare.append(answer_browsers)
    for route in routes:
        cors.add(route)
