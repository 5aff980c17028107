"""Callers: a program on this machine, or a web page in its browser, and the methods that a page may not call.

Any web page can make its reader's browser send requests to this machine. The browser shows it in headers that
no page can change: `Origin`, `Sec-Fetch-Site`, and `Host`, which names the page's own host when that name
resolves to this machine (DNS rebinding).
"""

from __future__ import annotations

from enum import Enum

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from zmartd.embedded.localnet.errors import RpcError
from zmartd.embedded.localnet.methods.cheatcodes import CHEATCODE_PREFIXES
from zmartd.endpoint import is_loopback_url

FAUCET = "requestAirdrop"
"""Every devnet offers it to pages. Here only pages of this machine may call it, since it writes accounts."""

_SEC_FETCH_SITE = "Sec-Fetch-Site"
_NOT_ANOTHER_SITE = frozenset({"none", "same-origin"})


class Caller(Enum):
    PROGRAM = "a program"
    OWN_PAGE = "a page that this machine serves"
    FOREIGN_PAGE = "a page from elsewhere"


class NotForPages(RpcError):
    """Web pages may not call this method."""

    rpc_code = -32098

    @classmethod
    def of(cls, method: str) -> NotForPages:
        return cls(
            f"{method} is not for web pages: call it from a program on this machine, without an Origin header"
        )


def caller_of(headers: CIMultiDictProxy[str]) -> Caller:
    """The kind of caller that sends these headers."""
    origins = headers.getall(hdrs.ORIGIN, [])
    if origins:
        return Caller.OWN_PAGE if all(map(is_loopback_url, origins)) else Caller.FOREIGN_PAGE
    sites = headers.getall(_SEC_FETCH_SITE, [])
    return Caller.PROGRAM if _NOT_ANOTHER_SITE.issuperset(sites) else Caller.FOREIGN_PAGE


def may_call(caller: Caller, method: str) -> bool:
    """Whether this caller may call the method."""
    if method.startswith(CHEATCODE_PREFIXES):
        return caller is Caller.PROGRAM
    return method != FAUCET or caller is not Caller.FOREIGN_PAGE


@web.middleware
async def this_machine_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests with another host name than this machine's own."""
    if not all(is_loopback_url(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise web.HTTPForbidden(text="this localnet answers to localhost and loopback addresses only\n")
    return await handler(request)
