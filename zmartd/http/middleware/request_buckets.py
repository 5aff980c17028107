"""Which rate limits a request counts towards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web

from zmartd.config import RateLimitSettings
from zmartd.http.kit import idempotency
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.kit.identity import IDENTITY, Credential
from zmartd.http.kit.operation import Quota
from zmartd.http.middleware.rate_limiter import Bucket, RateLimiter, WindowLimits

_NONE: Sequence[Bucket] = ()


class RequestBuckets:
    """Chooses the buckets that a request counts in.

    - A request with a session counts in the bucket of its wallet, and in one that all signed-in wallets at
      its address share: keys cost nothing, addresses do.
    - Any other request, and every sign-in whatever token it carries, counts in the bucket of its address for
      anonymous callers. Otherwise one free key would pay for the next.
    - A comment or an Idempotency-Key, which store something, count in further buckets of the address;
      comments also in one of the wallet.
    - Preflights count nowhere: the browser sends them, not the caller.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        settings: RateLimitSettings,
        proxies: TrustedProxies,
    ) -> None:
        self.limiter = limiter
        self._anonymous = WindowLimits(settings.ip_per_minute, settings.ip_per_hour)
        self._wallet = WindowLimits(settings.wallet_per_minute, settings.wallet_per_hour)
        self._signed_in_address = WindowLimits(
            settings.signed_in_ip_per_minute, settings.signed_in_ip_per_hour
        )
        self._comments = WindowLimits(settings.comments_per_hour, settings.comments_per_hour)
        self._stored_responses = WindowLimits(settings.kept_answers_per_hour, settings.kept_answers_per_hour)
        self._proxies = proxies

    def of(self, request: web.Request, quota: Quota) -> Sequence[Bucket]:
        """The buckets of `request`, whose IDENTITY has to be set. Empty if the request is not limited."""
        if quota is Quota.NONE or request.method == hdrs.METH_OPTIONS:
            return _NONE
        client = self._proxies.client_of_request(request)
        identity = request[IDENTITY]
        if identity.credential is not Credential.SESSION or quota is Quota.SIGN_INS:
            buckets: Sequence[Bucket] = ((f"ip:{client}", self._anonymous),)
        else:
            buckets = (
                (f"wallet:{identity.caller.wallet}", self._wallet),
                (f"signed-in-ip:{client}", self._signed_in_address),
            )
        if request.method == hdrs.METH_GET or identity.credential is Credential.NONE:
            return buckets
        return (*buckets, *self._storage_buckets(request, client, quota))

    def _storage_buckets(self, request: web.Request, client: str, quota: Quota) -> Iterator[Bucket]:
        if idempotency.HEADER in request.headers:
            yield f"kept-answers:{client}", self._stored_responses
        if quota is Quota.COMMENTS:
            yield f"comments:{client}", self._comments
            yield f"comments:{request[IDENTITY].caller.wallet}", self._comments
