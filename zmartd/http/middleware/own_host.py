"""What listens for this machine answers to its names alone: no other name can be made to lead there."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from zmartd.endpoint import leads_here
from zmartd.http.errors.requests import InvalidHttp


def for_own_host(around: Middleware) -> Middleware:
    """The steps `around`, with a refusal in place of the handler of a request for another host."""

    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall(hdrs.HOST, [])
        is_own = all(leads_here(f"http://{host}") for host in hosts)
        return await around(request, handler if is_own else _refuse)

    return middleware


async def _refuse(_: web.Request) -> web.StreamResponse:
    raise InvalidHttp("This listener answers to localhost and loopback addresses only.")
