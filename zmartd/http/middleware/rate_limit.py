"""Lets a caller through as often as its limit says, and tells it with each answer where it stands."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from zmartd.config import RateLimits
from zmartd.http.auth.identity import IDENTITY, Credential
from zmartd.http.client_address import TrustedProxies, forwarded_for
from zmartd.http.rate_limits import RateLimiter, Rates, Standing

_LIMIT, _EARLIER_LIMIT = istr("RateLimit-Limit"), istr("X-RateLimit-Limit")
_REMAINING, _EARLIER_REMAINING = istr("RateLimit-Remaining"), istr("X-RateLimit-Remaining")
_RESET, _EARLIER_RESET = istr("RateLimit-Reset"), istr("X-RateLimit-Reset")
_POLICY = istr("RateLimit-Policy")

Account = tuple[str, Rates]
"""The name under which somebody's requests are counted, and how many there may be."""


class RateLimit:
    """Who pays for a request: a signed-in wallet for its own, for all others the address they come from.

    Paths in `exempt` are for machines of the operator's. Preflights are the browser's, not the caller's.
    """

    def __init__(
        self, limiter: RateLimiter, settings: RateLimits, proxies: TrustedProxies, exempt: Collection[str]
    ) -> None:
        self.limiter = limiter
        self._of_addresses = Rates(settings.ip_per_minute, settings.ip_per_hour)
        self._of_wallets = Rates(settings.wallet_per_minute, settings.wallet_per_hour)
        self._proxies = proxies
        self._exempt = exempt

    def account_of(self, request: web.Request) -> Account | None:
        """Whose account `request` is counted on; it knows its identity. None: it is free."""
        if request.path in self._exempt or request.method == hdrs.METH_OPTIONS:
            return None
        identity = request[IDENTITY]
        if identity.credential is Credential.SESSION:
            return f"wallet:{identity.caller.wallet}", self._of_wallets
        client = self._proxies.client_of(request.remote, forwarded_for(request))
        return f"ip:{client}", self._of_addresses


def tell(headers: CIMultiDict[str], standing: Standing) -> None:
    """Say where the caller stands, under the standard's names and those that came before it."""
    headers[_LIMIT] = headers[_EARLIER_LIMIT] = str(standing.limit)
    headers[_REMAINING] = headers[_EARLIER_REMAINING] = str(standing.remaining)
    headers[_RESET] = headers[_EARLIER_RESET] = str(standing.reset_seconds)
    headers[_POLICY] = standing.policy
