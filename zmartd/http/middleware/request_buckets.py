"""Which rate limits a request counts towards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.config import RateLimitSettings
from zmartd.http.kit import idempotency
from zmartd.http.kit.client_address import SITE_CLIENTS, TrustedProxies, site_of
from zmartd.http.kit.identity import IDENTITY, Credential
from zmartd.http.kit.operation import Quota
from zmartd.http.kit.rate_limit_policy import RequestLimit, RequestLimits, rate_limit_policy
from zmartd.http.middleware.rate_limiter import Bucket, RateLimiter, WindowLimits

_NONE: Sequence[Bucket] = ()
_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class _Limit(Struct, frozen=True):
    """What one client may send, and what all clients of one IPv6 site may send together."""

    name: str
    client: WindowLimits
    site: WindowLimits

    @classmethod
    def of(cls, name: str, limit: RequestLimit, what: str) -> _Limit:
        per_minute, per_hour = limit.per_minute, limit.per_hour
        return cls(
            name,
            WindowLimits(per_minute, per_hour, f"{what} of the address"),
            WindowLimits(per_minute * SITE_CLIENTS, per_hour * SITE_CLIENTS, f"{what} of the IPv6 /48"),
        )

    def buckets(self, client: str, site: str) -> Iterator[Bucket]:
        yield f"{self.name}:{client}", self.client
        if site != client:
            yield f"{self.name}:{site}", self.site


class _Kind(Struct, frozen=True):
    """The limits of reads, or those of writes."""

    name: str
    address: _Limit
    wallet: WindowLimits
    signed_in_address: _Limit

    @classmethod
    def of(cls, name: str, limits: RequestLimits) -> _Kind:
        wallet = limits.wallet
        return cls(
            name,
            _Limit.of(f"{name}:ip", limits.address, f"anonymous {name}"),
            WindowLimits(wallet.per_minute, wallet.per_hour, f"{name} of the wallet"),
            _Limit.of(f"{name}:signed-in-ip", limits.signed_in_address, f"signed-in {name}"),
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
    - What counts in a bucket of an IPv6 address also counts in that of its site.
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
        self._comments = _per_hour("comments", policy.comments_per_hour, "comments")
        self._stored_responses = _per_hour(
            "kept-answers", policy.idempotency_keys_per_hour, "writes with an Idempotency-Key"
        )
        self._proxies = proxies

    def of(self, request: web.Request, quota: Quota) -> Sequence[Bucket]:
        """The buckets of `request`, whose IDENTITY has to be set. Empty if the request is not limited."""
        method = request.method
        if quota is Quota.NONE or method == hdrs.METH_OPTIONS:
            return _NONE
        client = self._proxies.client_of_request(request)
        site = site_of(client)
        identity = request[IDENTITY]
        kind = self._reads if method in _READS and quota is not Quota.SIGN_INS else self._writes
        if identity.credential is not Credential.SESSION or quota is Quota.SIGN_INS:
            buckets: Sequence[Bucket] = (*kind.address.buckets(client, site),)
        else:
            wallet = (f"{kind.name}:wallet:{identity.caller.wallet}", kind.wallet)
            buckets = (wallet, *kind.signed_in_address.buckets(client, site))
        if method in _READS or identity.credential is Credential.NONE:
            return buckets
        return (*buckets, *self._storage_buckets(request, client, site, quota))

    def _storage_buckets(
        self, request: web.Request, client: str, site: str, quota: Quota
    ) -> Iterator[Bucket]:
        if idempotency.HEADER in request.headers:
            yield from self._stored_responses.buckets(client, site)
        if quota is Quota.COMMENTS:
            yield from self._comments.buckets(client, site)
            yield f"comments:{request[IDENTITY].caller.wallet}", self._comments.client


def _per_hour(name: str, limit: int, of: str) -> _Limit:
    return _Limit.of(name, RequestLimit(per_minute=limit, per_hour=limit), of)
