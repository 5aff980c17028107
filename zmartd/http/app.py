"""Installs the API on an application."""

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
from zmartd.http.middleware.chain import PIPELINE, Pipeline
from zmartd.http.middleware.rate_limiter import RateLimiter
from zmartd.http.middleware.request_buckets import RequestBuckets
from zmartd.http.response_cache.cache import RESPONSE_CACHE, ResponseCache
from zmartd.http.routes import OPERATIONS, setup_routes
from zmartd.http.trading.position_memory import POSITION_MEMORY, PositionMemory


def setup(app: web.Application) -> None:
    """Install the routes and the middleware (`zmartd.http.middleware` lists its steps).

    All keys of `zmartd.http.kit.keys` but BODIES_STAY_COMPRESSED have to be set, and SESSIONS, SIGN_IN,
    TRUSTED_PROXIES, HEALTH and WEBSOCKET. This sets RESPONSE_CACHE, POSITION_MEMORY,
    DELIVERY_VERIFIER, OPENAPI and DOCS.
    Raises ConfigError where settings of the webhook contradict each other.
    """
    clock = app[keys.CLOCK]
    app[RESPONSE_CACHE] = ResponseCache(clock)
    app[POSITION_MEMORY] = PositionMemory(clock)
    app[keys.BUS].add_observer(app[RESPONSE_CACHE].invalidate)
    app[keys.BUS].add_observer(lambda _message: app[keys.REPLICA].log.announced())
    limits = app[keys.RATE_LIMITS]
    limiter = RateLimiter(app[keys.REDIS], clock) if limits.enabled else None
    refused = RefusedDeliveryLimit(limiter, limits.refused_deliveries_per_minute)
    app[DELIVERY_VERIFIER] = DeliveryVerifier(app[keys.HELIUS], refused)
    authenticator = Authenticator(app[SESSIONS], app[keys.AUTH].legacy_signature_header, clock)
    log = AccessLog(clock, quiet_routes=frozenset(one.path for one in OPERATIONS if one.is_for_machines))
    app[PIPELINE] = Pipeline(
        clock,
        log,
        authenticator,
        RequestBuckets(limiter, limits, app[TRUSTED_PROXIES]) if limiter else None,
        local_only=app[keys.SERVER].is_for_this_machine,
    )
    setup_routes(app, app[PIPELINE])
    app.on_cleanup.append(log.close)
    app.on_cleanup.append(_close_retrieval)


async def _close_retrieval(app: web.Application) -> None:
    await app[keys.RETRIEVAL].close()
