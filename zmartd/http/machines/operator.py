"""The operator's listener: what the daemon measures, and what it knows of its dependencies.

It is no part of the API. It asks for no credential, so no stranger may reach it. It counts no requests, so
whatever the API's callers have used up, it answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import prometheus_client
from aiohttp import web
from msgspec import Struct

from zmartd import __version__
from zmartd.clock import Clock
from zmartd.config import Server
from zmartd.endpoint import is_loopback
from zmartd.http.kit import keys
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.expectations import accept_expectation
from zmartd.http.kit.fields import Time
from zmartd.http.machines.health import HEALTH, Check, Health
from zmartd.http.middleware import unmatched
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import middleware
from zmartd.market.iso_time import iso_time


class HealthReport(Struct, frozen=True, kw_only=True):
    status: Literal["healthy", "degraded", "unhealthy"]
    """`unhealthy` without something essential, `degraded` without anything else."""
    timestamp: Time
    """When this was answered."""
    uptime: float
    """Seconds since the daemon started."""
    environment: str
    """What the daemon's configuration calls the place it runs in."""
    version: str
    """The daemon's version."""
    checks: dict[str, Check]
    """What the last probe of each dependency said, by its name."""


def operator_application(health: Health, server: Server, host: str, clock: Clock) -> web.Application:
    """GET /health and GET /metrics, for a listener on `host`.

    On a loopback address it answers to this machine's names alone, so that no web page can be led here.
    """
    app = web.Application()
    app[HEALTH], app[keys.SERVER] = health, server
    app.router.add_get("/health", health_report, expect_handler=accept_expectation)
    app.router.add_get("/metrics", metrics, expect_handler=accept_expectation)
    unmatched.install(app)
    log = AccessLog(clock, quiet={"/health", "/metrics"})
    app.middlewares.append(middleware(clock, log, for_own_host=is_loopback(host)))
    app.on_cleanup.append(log.close)
    return app


async def health_report(request: web.Request) -> web.Response:
    """200 while the daemon can serve, 503 when something essential is away."""
    health = request.app[HEALTH]
    checks = await health.checks()
    status = health.verdict(checks)
    report = HealthReport(
        status=status,
        timestamp=iso_time(datetime.now(UTC)),
        uptime=round(health.uptime_seconds, 3),
        environment=request.app[keys.SERVER].environment,
        version=__version__,
        checks=checks,
    )
    return json_response(report, 503 if status == "unhealthy" else 200)


async def metrics(_: web.Request) -> web.Response:
    """Everything that is counted, in Prometheus' text format."""
    response = web.Response(body=prometheus_client.generate_latest())
    response.headers["Content-Type"] = prometheus_client.CONTENT_TYPE_LATEST
    return response
