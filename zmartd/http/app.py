"""The HTTP side of the daemon, put onto an application that already has everything the handlers need."""

from __future__ import annotations

from aiohttp import web

from zmartd.http import keys
from zmartd.http.auth.identity import Authenticator, authentication
from zmartd.http.hot.answers import HotAnswers
from zmartd.http.middleware.access_log import access_log
from zmartd.http.middleware.errors import errors
from zmartd.http.middleware.idempotency import idempotent_writes
from zmartd.http.middleware.rate_limit import rate_limit
from zmartd.http.middleware.security_headers import security_headers
from zmartd.http.rate_limits import RateLimiter
from zmartd.http.routes import MACHINES, setup_routes


def setup(app: web.Application) -> None:
    """Install the middlewares, in the order that `zmartd.http.middleware` explains, and the routes.

    Every key of `zmartd.http.keys` has to be set but HOT_ANSWERS, which is set here.
    """
    clock = app[keys.CLOCK]
    machines = {route.path for route in MACHINES}
    authenticator = Authenticator(app[keys.SESSIONS], app[keys.AUTH].legacy_signature_header, clock)
    app.middlewares.extend(
        [
            access_log(clock, quiet=machines),
            security_headers(),
            errors(),
            authentication(authenticator),
        ]
    )
    if app[keys.RATE_LIMITS].enabled:
        limiter = RateLimiter(app[keys.REDIS], clock)
        app.middlewares.append(rate_limit(limiter, app[keys.RATE_LIMITS], machines))
    # What a handler raises has to be an answer before it is kept, or tells the caller where it stands.
    app.middlewares.extend([idempotent_writes(), errors()])
    app[keys.HOT_ANSWERS] = HotAnswers(clock)
    app[keys.BUS].watch(app[keys.HOT_ANSWERS].heard)
    setup_routes(app)
