"""Lets a caller through as often as its limit says, and tells it with each answer where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, istr

from zmartd.config import RateLimits
from zmartd.http.kit import idempotency
from zmartd.http.kit.client_address import TrustedProxies, forwarded_for
from zmartd.http.kit.identity import IDENTITY, Credential
from zmartd.http.kit.operation import Operation, Quota
from zmartd.http.middleware.rate_limiter import Account, RateLimiter, Rates, Standing

_LIMIT, _EARLIER_LIMIT = istr("RateLimit-Limit"), istr("X-RateLimit-Limit")
_REMAINING, _EARLIER_REMAINING = istr("RateLimit-Remaining"), istr("X-RateLimit-Remaining")
_RESET, _EARLIER_RESET = istr("RateLimit-Reset"), istr("X-RateLimit-Reset")
_POLICY = istr("RateLimit-Policy")

_FREE: Sequence[Account] = ()


class RateLimit:
    """Which accounts a request counts on.

    A signed-in wallet has an account of its own, and shares one with all the wallets that sign in from its
    address: keys cost nothing, addresses do. What leaves something behind, a comment or a kept answer,
    counts on accounts of the address as well, comments on one of the wallet, too. All others count on the
    account of anonymous callers of their address, and so does signing in, with whatever token: one free key
    must not pay for the next. Preflights are the browser's, not the caller's.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        settings: RateLimits,
        proxies: TrustedProxies,
        operations: Mapping[Handler, Operation[Any]],
    ) -> None:
        """`operations` are those of the handlers of routes."""
        self.limiter = limiter
        self._of_anonymous = Rates(settings.ip_per_minute, settings.ip_per_hour)
        self._of_wallet = Rates(settings.wallet_per_minute, settings.wallet_per_hour)
        self._of_signed_in = Rates(settings.signed_in_ip_per_minute, settings.signed_in_ip_per_hour)
        self._of_comments = Rates(settings.comments_per_hour, settings.comments_per_hour)
        self._of_kept_answers = Rates(settings.kept_answers_per_hour, settings.kept_answers_per_hour)
        self._proxies = proxies
        self._quotas = {handler: operation.quota for handler, operation in operations.items()}

    def accounts_of(self, request: web.Request) -> Sequence[Account]:
        """The accounts that `request`, whose identity is known, counts on. None of them: it is free."""
        quota = self._quotas.get(request.match_info.handler, Quota.REQUESTS)
        if quota is Quota.NOTHING or request.method == hdrs.METH_OPTIONS:
            return _FREE
        client = self._proxies.client_of(request.remote, forwarded_for(request))
        identity = request[IDENTITY]
        if identity.credential is not Credential.SESSION or quota is Quota.SIGN_INS:
            accounts: Sequence[Account] = ((f"ip:{client}", self._of_anonymous),)
        else:
            accounts = (
                (f"wallet:{identity.caller.wallet}", self._of_wallet),
                (f"signed-in-ip:{client}", self._of_signed_in),
            )
        if request.method == hdrs.METH_GET or identity.credential is Credential.NONE:
            return accounts
        return (*accounts, *self._of_what_stays(request, client, quota))

    def _of_what_stays(self, request: web.Request, client: str, quota: Quota) -> Iterator[Account]:
        if idempotency.HEADER in request.headers:
            yield f"kept-answers:{client}", self._of_kept_answers
        if quota is Quota.COMMENTS:
            yield f"comments:{client}", self._of_comments
            yield f"comments:{request[IDENTITY].caller.wallet}", self._of_comments


def tell(headers: CIMultiDict[str], standing: Standing) -> None:
    """Say where the caller stands, under the standard's names and those that came before it."""
    headers[_LIMIT] = headers[_EARLIER_LIMIT] = str(standing.limit)
    headers[_REMAINING] = headers[_EARLIER_REMAINING] = str(standing.remaining)
    headers[_RESET] = headers[_EARLIER_RESET] = str(standing.reset_seconds)
    headers[_POLICY] = standing.policy
