"""Lets a caller through as often as its limit says, and tells it with each answer where it stands."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from zmartd.config import RateLimits
from zmartd.http.auth.identity import IDENTITY, Credential
from zmartd.http.client_address import client_address
from zmartd.http.errors import RateLimited
from zmartd.http.middleware.errors import error_response
from zmartd.http.rate_limits import RateLimiter, Rates, Standing

_NETWORK_BITS = 64
"""What a household gets of IPv6: whoever has one address of it has all."""


def rate_limit(limiter: RateLimiter, settings: RateLimits, exempt: Collection[str]) -> Middleware:
    """Counts a signed-in wallet's requests on its own account, all others on their address'.

    Paths in `exempt` are for machines of the operator's. Preflights are the browser's, not the caller's.
    """
    of_addresses = Rates(settings.ip_per_minute, settings.ip_per_hour)
    of_wallets = Rates(settings.wallet_per_minute, settings.wallet_per_hour)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in exempt or request.method == hdrs.METH_OPTIONS:
            return await handler(request)
        identity = request[IDENTITY]
        if identity.credential is Credential.SESSION:
            standing = await limiter.count(f"wallet:{identity.caller.wallet}", of_wallets)
        else:
            standing = await limiter.count(_account_of(client_address(request)), of_addresses)
        if standing.admitted:
            response = await handler(request)
        else:
            response = error_response(request, RateLimited(standing.reset_seconds))
        if not response.prepared:
            _tell(response, standing)
        return response

    return middleware


@lru_cache(maxsize=8_192)
def _account_of(address: str) -> str:
    """The address, or the network where it is one of many that a caller has."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"ip:{address}"
    if isinstance(parsed, IPv6Address):
        return f"ip:{ip_network((parsed, _NETWORK_BITS), strict=False)}"
    return f"ip:{address}"


def _tell(response: web.StreamResponse, standing: Standing) -> None:
    headers = response.headers
    for name, number in (
        ("Limit", standing.limit),
        ("Remaining", standing.remaining),
        ("Reset", standing.reset_seconds),
    ):
        headers[f"RateLimit-{name}"] = headers[f"X-RateLimit-{name}"] = str(number)
