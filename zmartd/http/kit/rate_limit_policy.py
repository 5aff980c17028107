"""The rate limits in the JSON of the API."""

from __future__ import annotations

from msgspec import Struct

from zmartd.config import RateLimitSettings
from zmartd.http.kit.client_address import SITE_CLIENTS
from zmartd.http.kit.weights import EXPORT, FROM_MEMORY, REQUEST


class RequestLimit(Struct, frozen=True, kw_only=True):
    """The most requests in a minute and in an hour."""

    per_minute: int
    """The most requests in a minute, which begins with the first of them."""
    per_hour: int
    """The most requests in an hour, which begins with the first of them."""


class RequestLimits(Struct, frozen=True, kw_only=True):
    """The limits of reads, or those of writes."""

    address: RequestLimit
    """Of one address, or IPv6 /64, without a session."""
    wallet: RequestLimit
    """Of one signed-in wallet."""
    signed_in_address: RequestLimit
    """Of all signed-in wallets of one address, or IPv6 /64."""


class RequestWeights(Struct, frozen=True, kw_only=True):
    """What a request counts, by its answer."""

    from_memory: float
    """An answer that the daemon has in memory, such as a market that was asked for a moment ago."""
    export: float
    """A list as CSV or JSON Lines."""
    other: float
    """Any other answer, errors too."""


class RateLimitPolicy(Struct, frozen=True, kw_only=True):
    """How many requests are answered. The headers RateLimit-* of each answer say what is left."""

    enabled: bool
    """Whether requests are counted at all."""
    weights: RequestWeights
    """What a request counts, by its answer."""
    reads: RequestLimits
    """The limits of GET and HEAD, except GET /api/auth/nonce."""
    writes: RequestLimits
    """The limits of all other methods. Signing in, with its nonce, counts for the address."""
    ipv6_site_clients: int
    """How many times the limits of one IPv6 /64 the whole /48 around it has, for all limits of an address."""
    comments_per_hour: int
    """The most comments of one wallet, and of all wallets of one address, in an hour."""
    idempotency_keys_per_hour: int
    """The most writes with an Idempotency-Key of one address in an hour."""


def rate_limit_policy(settings: RateLimitSettings) -> RateLimitPolicy:
    """The policy that `settings` make."""
    return RateLimitPolicy(
        enabled=settings.enabled,
        weights=RequestWeights(from_memory=FROM_MEMORY / REQUEST, export=EXPORT / REQUEST, other=1.0),
        reads=RequestLimits(
            address=_limit(settings.ip_reads_per_minute, settings.ip_reads_per_hour),
            wallet=_limit(settings.wallet_reads_per_minute, settings.wallet_reads_per_hour),
            signed_in_address=_limit(
                settings.signed_in_ip_reads_per_minute, settings.signed_in_ip_reads_per_hour
            ),
        ),
        writes=RequestLimits(
            address=_limit(settings.ip_writes_per_minute, settings.ip_writes_per_hour),
            wallet=_limit(settings.wallet_writes_per_minute, settings.wallet_writes_per_hour),
            signed_in_address=_limit(
                settings.signed_in_ip_writes_per_minute, settings.signed_in_ip_writes_per_hour
            ),
        ),
        ipv6_site_clients=SITE_CLIENTS,
        comments_per_hour=settings.comments_per_hour,
        idempotency_keys_per_hour=settings.kept_answers_per_hour,
    )


def _limit(per_minute: int, per_hour: int) -> RequestLimit:
    return RequestLimit(per_minute=per_minute, per_hour=per_hour)
