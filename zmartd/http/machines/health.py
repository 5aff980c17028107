"""Health checks of the daemon and its dependencies. The public one says only whether it can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.kit.operation import MACHINES_TAG, Access, Call, JsonResponse, Operation, Quota
from zmartd.log import get_logger

log = get_logger(__name__)

Probe = Callable[[], Awaitable[None]]
"""Checks one dependency: returns if it works, raises otherwise."""

_PROBE_WAIT_SECONDS = 0.08
_PROBE_INTERVAL_SECONDS = 2.0


class Dependency(Struct, frozen=True):
    """Something that the daemon needs. Without an `essential` one it cannot serve."""

    probe: Probe
    essential: bool


class Check(Struct, frozen=True, omit_defaults=True):
    """The result of the last probe of a dependency."""

    status: Literal["ok", "error", "unknown"]
    """`unknown` until the first probe has ended."""
    message: str = ""
    """What is wrong; left out unless something is."""


class HealthBody(Struct, frozen=True):
    """Whether the daemon can serve."""

    status: Literal["ok", "error"]
    """`error` while an essential dependency is away."""


HEALTH: Final[web.AppKey[Health]] = web.AppKey("health")


class Health:
    """The health of all dependencies. Those that are not essential are probed only for `checks`."""

    def __init__(self, dependencies: Mapping[str, Dependency], clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self.is_draining = False
        """Whether the daemon is about to end, so that it should be sent nothing more."""
        self._names = tuple(dependencies)
        self._essential, self._others = (
            _Probes({name: one.probe for name, one in dependencies.items() if one.essential is which}, clock)
            for which in (True, False)
        )

    @property
    def uptime_seconds(self) -> float:
        return self._clock.monotonic() - self._started

    async def is_serving(self) -> bool:
        """Whether no essential dependency is known to be away."""
        return not _failing(await self._essential.checks())

    async def checks(self) -> dict[str, Check]:
        """The result of every dependency's probe, at most a few seconds old."""
        essential, others = await asyncio.gather(self._essential.checks(), self._others.checks())
        found = {**essential, **others}
        return {name: found[name] for name in self._names}

    def verdict(self, checks: Mapping[str, Check]) -> Literal["healthy", "degraded", "unhealthy"]:
        if not (failing := _failing(checks)):
            return "healthy"
        return "unhealthy" if failing & self._essential.names else "degraded"

    async def close(self) -> None:
        """Cancel probes that are still running."""
        await self._essential.close()
        await self._others.close()


class _Probes:
    """Probes dependencies on demand, at most every two seconds.

    A health check waits for a probe only briefly: then it returns the last result, and the probe goes on.
    """

    def __init__(self, probes: Mapping[str, Probe], clock: Clock) -> None:
        self._probes = probes
        self._clock = clock
        self._probed = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._checks = dict.fromkeys(probes, Check("unknown"))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._probes)

    async def checks(self) -> dict[str, Check]:
        if self._running is None and self._clock.monotonic() - self._probed >= _PROBE_INTERVAL_SECONDS:
            self._running = asyncio.create_task(self._probe_all())
        if self._running is not None:
            await asyncio.wait([self._running], timeout=_PROBE_WAIT_SECONDS)
        return dict(self._checks)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _probe_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name, probe in self._probes.items():
                    group.create_task(self._probe(name, probe))
        finally:
            self._probed = self._clock.monotonic()
            self._running = None

    async def _probe(self, name: str, probe: Probe) -> None:
        try:
            await probe()
        except Exception as error:  # whatever a probe raises, the dependency failed
            message = error.message if isinstance(error, ZmartdError) else f"{name} does not answer."
            failed = Check("error", message)
            if self._checks[name] != failed:
                log.warning("health.failing", dependency=name, error=str(error))
            self._checks[name] = failed
        else:
            self._checks[name] = Check("ok")


def _failing(checks: Mapping[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.status == "error"}


async def health(call: Call[None]) -> HealthBody | JsonResponse:
    """200 while the daemon can serve, 503 while an essential dependency is away."""
    if await call.app[HEALTH].is_serving():
        return HealthBody("ok")
    return JsonResponse(HealthBody("error"), 503)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/health",
        handler=health,
        name="get_health",
        summary="Whether the daemon can serve",
        tag=MACHINES_TAG,
        access=Access.PUBLIC,
        quota=Quota.NONE,
        responses={200: HealthBody, 503: HealthBody},
    ),
)
