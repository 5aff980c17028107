"""The operator's listener: metrics, and the health of each dependency.

It is not part of the API. It needs no credentials, so it must not be reachable from outside, and it has no
rate limits.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

import prometheus_client
from aiohttp import web
from msgspec import Struct

from zmartd import __version__
from zmartd.clock import Clock
from zmartd.config import ServerSettings
from zmartd.endpoint import is_loopback
from zmartd.http.kit import keys
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.expectations import send_continue
from zmartd.http.kit.fields import Time
from zmartd.http.machines.health import HEALTH, Check, Health
from zmartd.http.middleware import unmatched
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import Pipeline
from zmartd.market.iso_time import iso_time

MAX_OPERATOR_CONNECTIONS = 32
"""The most open connections of this listener. A few programs of the operator's use it."""


_tasks = prometheus_client.Gauge("zmartd_asyncio_tasks", "Tasks of the event loop.")


class HealthReport(Struct, frozen=True, kw_only=True):
    status: Literal["healthy", "degraded", "unhealthy"]
    """`unhealthy` while an essential dependency is away, `degraded` while another one is."""
    timestamp: Time
    """The time of the response."""
    uptime: float
    """Seconds since the daemon started."""
    environment: str
    """The setting server.environment."""
    version: str
    """The version of zmartd."""
    checks: dict[str, Check]
    """The result of the last probe of each dependency, by its name."""


def operator_application(health: Health, server: ServerSettings, host: str, clock: Clock) -> web.Application:
    """The application with GET /health and GET /metrics, for a listener on `host`.

    On a loopback address it refuses requests to other hosts, which prevents DNS rebinding by web pages.
    """
    app = web.Application()
    app[HEALTH], app[keys.SERVER] = health, server
    log = AccessLog(clock, quiet_routes={"/health", "/metrics"})
    wrap = Pipeline(clock, log, local_only=is_loopback(host)).wrap
    app.router.add_get("/health", wrap(health_report), expect_handler=send_continue)
    app.router.add_get("/metrics", wrap(_Metrics().respond), expect_handler=send_continue)
    unmatched.install(app, wrap)
    app.on_cleanup.append(log.close)
    return app


async def health_report(request: web.Request) -> web.Response:
    """200 while the daemon can serve, 503 while an essential dependency is away."""
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


class _Metrics:
    """Renders the metrics in a thread, because that takes tens of milliseconds, and once for all who wait."""

    def __init__(self) -> None:
        self._rendering: asyncio.Task[bytes] | None = None

    async def respond(self, _: web.Request) -> web.Response:
        """All metrics in Prometheus' text format."""
        if self._rendering is None or self._rendering.done():
            _tasks.set(len(asyncio.all_tasks()))
            self._rendering = asyncio.create_task(asyncio.to_thread(prometheus_client.generate_latest))
        response = web.Response(body=await asyncio.shield(self._rendering))
        response.headers["Content-Type"] = prometheus_client.CONTENT_TYPE_LATEST
        return response
