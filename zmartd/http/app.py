"""The HTTP side of the daemon, put onto an application that already has everything the handlers need."""

from __future__ import annotations

from aiohttp import web

from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.auth.sessions import SESSIONS
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES
from zmartd.http.machines.webhook_verification import (
    DELIVERY_VERIFIER,
    DeliveryVerifier,
    RefusedDeliveryLimit,
)
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import middleware
from zmartd.http.middleware.rate_limiter import RateLimiter
from zmartd.http.middleware.request_buckets import RateLimit
from zmartd.http.response_cache.cache import RESPONSE_CACHE, ResponseCache
from zmartd.http.routes import setup_routes


def setup(app: web.Application) -> None:
    """Install the routes, and around them what `zmartd.http.middleware` explains.

    Every key of `zmartd.http.kit.keys` has to be set but RESPONSE_CACHE, DELIVERY_VERIFIER, OPENAPI and DOCS,
    which this sets.
    Raises ConfigError where the webhook's settings do not fit each other.
    """
    clock = app[keys.CLOCK]
    app[RESPONSE_CACHE] = ResponseCache(clock)
    app[keys.BUS].add_observer(app[RESPONSE_CACHE].invalidate)
    limits = app[keys.RATE_LIMITS]
    limiter = RateLimiter(app[keys.REDIS], clock) if limits.enabled else None
    refused = RefusedDeliveryLimit(limiter, limits.refused_deliveries_per_minute)
    app[DELIVERY_VERIFIER] = DeliveryVerifier(app[keys.HELIUS], refused)
    authenticator = Authenticator(app[SESSIONS], app[keys.AUTH].legacy_signature_header, clock)
    operations, browser_headers = setup_routes(app)
    log = AccessLog(clock, quiet=frozenset(one.path for one in operations.values() if one.is_for_machines))
    app.middlewares.append(
        middleware(
            clock,
            log,
            authenticator,
            RateLimit(limiter, limits, app[TRUSTED_PROXIES], operations) if limiter else None,
            browser_headers,
            for_own_host=app[keys.SERVER].is_for_this_machine,
        )
    )
    app.on_cleanup.append(log.close)
