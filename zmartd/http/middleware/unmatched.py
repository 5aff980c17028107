"""Requests for what the table of routes does not have: 404, or 405 for a path with other methods."""

from __future__ import annotations

from aiohttp import hdrs, web

from zmartd.http.errors.requests import MethodNotAllowed, RouteNotFound
from zmartd.http.kit.expectations import accept_expectation

PATH = "/{unmatched}"
"""The path of these requests, as the router names it."""


def install(app: web.Application) -> None:
    """Add the route that takes what no other one does: the last one of `app`."""
    app.router.add_route(hdrs.METH_ANY, "/{unmatched:.*}", _refuse, expect_handler=accept_expectation)


async def _refuse(request: web.Request) -> web.StreamResponse:
    methods: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != PATH:
            methods |= (await resource.resolve(request))[1]
    if methods:
        raise MethodNotAllowed(methods)
    raise RouteNotFound
