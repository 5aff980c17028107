"""The HTTP side of the daemon, put onto an application that already has everything the handlers need."""

from __future__ import annotations

from aiohttp import web

from zmartd.http.auth.identity import Authenticator
from zmartd.http.discussions import comments
from zmartd.http.kit import keys
from zmartd.http.machines.deliveries import Deliveries, Refusals
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import chain
from zmartd.http.middleware.own_host import for_own_host
from zmartd.http.middleware.rate_limit import RateLimit
from zmartd.http.middleware.rate_limiter import RateLimiter
from zmartd.http.response_cache.cache import HotAnswers
from zmartd.http.routes import MACHINES, setup_routes


def setup(app: web.Application) -> None:
    """Install the routes, and around them what `zmartd.http.middleware` explains.

    Every key of `zmartd.http.kit.keys` has to be set but HOT_ANSWERS, DELIVERIES and AROUND, which this sets.
    Raises ConfigError where the webhook's settings do not fit each other.
    """
    clock = app[keys.CLOCK]
    machines = frozenset(route.path for route in MACHINES)
    app[keys.HOT_ANSWERS] = HotAnswers(clock)
    app[keys.BUS].watch(app[keys.HOT_ANSWERS].heard)
    limits = app[keys.RATE_LIMITS]
    limiter = RateLimiter(app[keys.REDIS], clock) if limits.enabled else None
    proxies = app[keys.TRUSTED_PROXIES]
    limit = RateLimit(limiter, limits, proxies, machines, comments.POST_PATHS) if limiter else None
    refusals = Refusals(limiter, limits.refused_deliveries_per_minute)
    app[keys.DELIVERIES] = Deliveries(app[keys.HELIUS], refusals)
    authenticator = Authenticator(app[keys.SESSIONS], app[keys.AUTH].legacy_signature_header, clock)
    browsers = setup_routes(app)
    log = AccessLog(clock, quiet=machines)
    around = chain(clock, log, authenticator, limit, browsers)
    app[keys.AROUND] = for_own_host(around) if app[keys.SERVER].is_for_this_machine else around
    app.on_cleanup.append(log.close)
