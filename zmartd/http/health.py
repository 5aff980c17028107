"""How the daemon and what it depends on are doing, for load balancers, people and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import prometheus_client
from aiohttp import web
from msgspec import Struct

from zmartd import __version__
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http import keys
from zmartd.http.codec import json_response
from zmartd.http.fields import Time, time_text
from zmartd.http.operation import MACHINES_TAG, Operation, Raw
from zmartd.log import get_logger

log = get_logger(__name__)

Probe = Callable[[], Awaitable[None]]
"""Returns when what it looks at works; raises otherwise."""

_PATIENCE_SECONDS = 0.08
_FRESH_SECONDS = 2.0


class Dependency(Struct, frozen=True):
    """Something the daemon needs. Without an `essential` one it can answer nothing useful."""

    probe: Probe
    essential: bool


class Check(Struct, frozen=True, omit_defaults=True):
    """What the last probe of one dependency said."""

    status: Literal["ok", "error", "unknown"]
    """`unknown` until the first probe has ended."""
    message: str = ""
    """What is wrong; left out where nothing is known to be."""


class HealthBody(Struct, frozen=True, kw_only=True):
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


class Health:
    """Probes the dependencies when somebody asks, at most once in two seconds, and keeps nobody waiting.

    A probe that takes longer than a health check may goes on behind the answer, which tells the last result.
    """

    def __init__(self, dependencies: Mapping[str, Dependency], clock: Clock) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._started = clock.monotonic()
        self._probed = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._checks = dict.fromkeys(dependencies, Check("unknown"))

    @property
    def uptime_seconds(self) -> float:
        return self._clock.monotonic() - self._started

    async def checks(self) -> dict[str, Check]:
        """The state of every dependency, at most a few seconds old."""
        if self._running is None and self._clock.monotonic() - self._probed >= _FRESH_SECONDS:
            self._running = asyncio.create_task(self._probe_all())
        if self._running is not None:
            await asyncio.wait([self._running], timeout=_PATIENCE_SECONDS)
        return dict(self._checks)

    def verdict(self, checks: Mapping[str, Check]) -> Literal["healthy", "degraded", "unhealthy"]:
        failing = [name for name, check in checks.items() if check.status == "error"]
        if not failing:
            return "healthy"
        return "unhealthy" if any(self._dependencies[name].essential for name in failing) else "degraded"

    async def close(self) -> None:
        """Stop a probe that is still running."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _probe_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name, dependency in self._dependencies.items():
                    group.create_task(self._probe(name, dependency.probe))
        finally:
            self._probed = self._clock.monotonic()
            self._running = None

    async def _probe(self, name: str, probe: Probe) -> None:
        try:
            await probe()
        except Exception as error:  # whatever a dependency raises is what is wrong with it
            message = error.message if isinstance(error, ZmartdError) else f"{name} does not answer."
            self._checks[name] = Check("error", message)
            log.warning("health.failing", dependency=name, error=str(error))
        else:
            self._checks[name] = Check("ok")


async def health(request: web.Request) -> web.Response:
    """GET /health: 200 while the daemon can serve, 503 when something essential is away."""
    board = request.app[keys.HEALTH]
    checks = await board.checks()
    status = board.verdict(checks)
    body = HealthBody(
        status=status,
        timestamp=time_text(datetime.now(UTC)),
        uptime=round(board.uptime_seconds, 3),
        environment=request.app[keys.SERVER].environment,
        version=__version__,
        checks=checks,
    )
    return json_response(body, 503 if status == "unhealthy" else 200)


async def metrics(_: web.Request) -> web.Response:
    """GET /metrics in Prometheus' text format."""
    response = web.Response(body=prometheus_client.generate_latest())
    response.headers["Content-Type"] = prometheus_client.CONTENT_TYPE_LATEST
    return response


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/health",
        handler=health,
        summary="How the daemon and what it depends on are doing",
        tag=MACHINES_TAG,
        answers={200: HealthBody, 503: HealthBody},
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Measurements for Prometheus",
        tag=MACHINES_TAG,
        answers={200: Raw("text/plain")},
    ),
)
