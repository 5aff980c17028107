"""Requests that match no route: 404, or 405 where the path has other methods.

Preflights of such requests are answered, so that pages may read the refusal.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from zmartd.http.errors.requests import MethodNotAllowed, RouteNotFound
from zmartd.http.kit.expectations import send_continue
from zmartd.http.kit.nearest_path import nearest_path

PATH = "/{unmatched}"
"""The canonical path of the route that takes these requests."""


def install(
    app: web.Application, wrap: Callable[[Handler], Handler], preflight: Handler | None = None
) -> None:
    """Add the route that takes what no other one does. It has to be the last one of `app`.

    `preflight` answers preflights; they are refused as all else if it is None.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        is_preflight = request.method == hdrs.METH_OPTIONS and hdrs.ORIGIN in request.headers
        if preflight is not None and is_preflight:
            return await preflight(request)
        return await _refuse(request)

    app.router.add_route(hdrs.METH_ANY, "/{unmatched:.*}", wrap(handle), expect_handler=send_continue)


async def _refuse(request: web.Request) -> web.StreamResponse:
    methods: set[str] = set()
    resources = [one for one in request.app.router.resources() if one.canonical != PATH]
    for resource in resources:
        methods |= (await resource.resolve(request))[1]
    if methods:
        raise MethodNotAllowed(methods)
    if request.path.endswith("/"):
        raise RouteNotFound("There is no such path; write it without the slash at its end.")
    meant = nearest_path(request.path, tuple(one.canonical for one in resources))
    if meant is not None:
        raise RouteNotFound(
            f"There is no such path; did you mean {meant}? GET /api/openapi.json lists all paths."
        )
    raise RouteNotFound
