"""What listens for this machine answers to its names alone: no other name can be made to lead there."""

from __future__ import annotations

from aiohttp import hdrs, web

from zmartd.endpoint import leads_here
from zmartd.http.errors.requests import InvalidHttp


def require_own_host(request: web.Request) -> None:
    """Raises InvalidHttp for a request to another host."""
    if not all(leads_here(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise InvalidHttp("This listener answers to localhost and loopback addresses only.")
