"""Which rate limits a request counts towards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.config import RateLimitSettings
from zmartd.http.kit import idempotency
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.kit.identity import IDENTITY, Credential
from zmartd.http.kit.operation import Quota
from zmartd.http.kit.rate_limit_policy import RequestLimit, RequestLimits, rate_limit_policy
from zmartd.http.middleware.rate_limiter import Bucket, RateLimiter, WindowLimits

_NONE: Sequence[Bucket] = ()
_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class _Kind(Struct, frozen=True):
    """The limits of reads, or those of writes."""

    name: str
    address: WindowLimits
    wallet: WindowLimits
    signed_in_address: WindowLimits

    @classmethod
    def of(cls, name: str, limits: RequestLimits) -> _Kind:
        return cls(
            name,
            _windows(limits.address, f"anonymous {name} of the address"),
            _windows(limits.wallet, f"{name} of the wallet"),
            _windows(limits.signed_in_address, f"signed-in {name} of the address"),
        )


class RequestBuckets:
    """Chooses the buckets that a request counts in.

    - Reads and writes count in buckets of their own.
    - A request with a session counts in the bucket of its wallet, and in one that all signed-in wallets at
      its address share: keys cost nothing, addresses do.
    - Any other request, and every sign-in whatever token it carries, counts in the bucket of its address for
      anonymous callers. Otherwise one free key would pay for the next. A sign-in, also its nonce, is a write.
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
        policy = rate_limit_policy(settings)
        self._reads = _Kind.of("reads", policy.reads)
        self._writes = _Kind.of("writes", policy.writes)
        self._comments = _per_hour(policy.comments_per_hour, "comments")
        self._stored_responses = _per_hour(policy.idempotency_keys_per_hour, "writes with an Idempotency-Key")
        self._proxies = proxies

    def of(self, request: web.Request, quota: Quota) -> Sequence[Bucket]:
        """The buckets of `request`, whose IDENTITY has to be set. Empty if the request is not limited."""
        method = request.method
        if quota is Quota.NONE or method == hdrs.METH_OPTIONS:
            return _NONE
        client = self._proxies.client_of_request(request)
        identity = request[IDENTITY]
        kind = self._reads if method in _READS and quota is not Quota.SIGN_INS else self._writes
        if identity.credential is not Credential.SESSION or quota is Quota.SIGN_INS:
            buckets: Sequence[Bucket] = ((f"{kind.name}:ip:{client}", kind.address),)
        else:
            buckets = (
                (f"{kind.name}:wallet:{identity.caller.wallet}", kind.wallet),
                (f"{kind.name}:signed-in-ip:{client}", kind.signed_in_address),
            )
        if method in _READS or identity.credential is Credential.NONE:
            return buckets
        return (*buckets, *self._storage_buckets(request, client, quota))

    def _storage_buckets(self, request: web.Request, client: str, quota: Quota) -> Iterator[Bucket]:
        if idempotency.HEADER in request.headers:
            yield f"kept-answers:{client}", self._stored_responses
        if quota is Quota.COMMENTS:
            yield f"comments:{client}", self._comments
            yield f"comments:{request[IDENTITY].caller.wallet}", self._comments


def _windows(limit: RequestLimit, of: str) -> WindowLimits:
    return WindowLimits(limit.per_minute, limit.per_hour, of)


def _per_hour(limit: int, of: str) -> WindowLimits:
    return WindowLimits(limit, limit, of)
