"""Who calls: a program on this machine, or a web page in its browser, and what a page may not do.

A page from anywhere can make its reader's browser send requests to this machine. The browser says so in
headers that no page can change: `Origin`, `Sec-Fetch-Site`, and `Host`, which has the name in the page's
address where that name was made to lead here (DNS rebinding).
"""

from __future__ import annotations

from enum import Enum

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from zmartd.embedded.localnet.errors import RpcError
from zmartd.embedded.localnet.methods.cheatcodes import CHEAT_PREFIXES
from zmartd.endpoint import leads_here

FAUCET = "requestAirdrop"
"""What every devnet offers to pages; here only to those of this machine, since it writes accounts."""

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
    """Who sent a request with these headers."""
    origins = headers.getall(hdrs.ORIGIN, [])
    if origins:
        return Caller.OWN_PAGE if all(map(leads_here, origins)) else Caller.FOREIGN_PAGE
    sites = headers.getall(_SEC_FETCH_SITE, [])
    return Caller.PROGRAM if _NOT_ANOTHER_SITE.issuperset(sites) else Caller.FOREIGN_PAGE


def may_call(caller: Caller, method: str) -> bool:
    """Whether a method is open to such a caller."""
    if method.startswith(CHEAT_PREFIXES):
        return caller is Caller.PROGRAM
    return method != FAUCET or caller is not Caller.FOREIGN_PAGE


@web.middleware
async def this_machine_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses requests to any other name than this machine's own."""
    if not all(leads_here(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise web.HTTPForbidden(text="this localnet answers to localhost and loopback addresses only\n")
    return await handler(request)
