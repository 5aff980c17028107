"""Health checks of the daemon and its dependencies. The public ones say only whether it can serve."""

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
from zmartd.metrics import Remembered

log = get_logger(__name__)

_CHECKS: Final = Remembered(
    "zmartd_health_check",
    "Whether a check of the operator's /health finds everything well; left out where that is unknown.",
    ["check"],
    fresh_seconds=10.0,
)

Probe = Callable[[], Awaitable[None]]
"""Checks one dependency: returns if it works, raises otherwise."""

PROBE_SECONDS: Final = 1.0
"""How long a probe may take. What takes longer does not work."""
FRESH_SECONDS: Final = 0.9
"""How long the result of a probe is used. With PROBE_SECONDS it makes what an answer says 2 s old at most."""
WATCH_SECONDS: Final = 2.0
"""How often a dependency is probed that does not work, and one that is essential."""
LOG_SECONDS: Final = (5.0, 30.0, 120.0, 600.0)
"""How long after a line in the log about a dependency that stays away the next one comes."""
SLICES: Final = 10
MAX_LEFT: Final = 2
"""Probes of one dependency that have been given up and have not ended. Then no more are begun."""


class Dependency(Struct, frozen=True, kw_only=True):
    """Something that the daemon needs. Without an `essential` one it cannot serve."""

    probe: Probe
    essential: bool = False
    needs: str = ""
    """The name of another one, without which nothing can be said about this one."""
    watch_seconds: float = 10.0
    """How often it is probed for the log, while it works, where nobody asks."""


class Check(Struct, frozen=True, omit_defaults=True):
    """The result of a probe of a dependency, at most two seconds old."""

    status: Literal["ok", "error", "unknown"]
    """`unknown` where that cannot be found out: before the first probe has ended, or while what it needs is
    away."""
    message: str = ""
    """What is wrong; left out unless something is."""


class HealthBody(Struct, frozen=True):
    """Whether the daemon can serve."""

    status: Literal["ok", "error"]
    """`error` while an essential dependency is away, or the daemon is about to end."""


HEALTH: Final[web.AppKey[Health]] = web.AppKey("health")


class Health:
    """All dependencies. Those that are not essential are probed only for `checks` and `watch`."""

    def __init__(
        self,
        dependencies: Mapping[str, Dependency],
        clock: Clock,
        *,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self._probed = {name: _Probed(name, one, clock, probe_seconds) for name, one in dependencies.items()}
        self.is_draining = False
        """Whether the daemon is about to end, so that it should be sent nothing more."""

    @property
    def uptime_seconds(self) -> float:
        return self._clock.monotonic() - self._started

    async def is_serving(self) -> bool:
        """Whether no essential dependency is away."""
        essential = (one.check() for one in self._probed.values() if one.dependency.essential)
        return all(check.status == "ok" for check in await asyncio.gather(*essential))

    async def checks(self) -> dict[str, Check]:
        """The result of every dependency's probe, at most two seconds old."""
        checks = await asyncio.gather(*(one.check() for one in self._probed.values()))
        return self._known(dict(zip(self._probed, checks, strict=True)))

    def _known(self, checks: dict[str, Check]) -> dict[str, Check]:
        """What can be said, where something that others need is away."""
        return {
            name: Check("unknown", f"unknown while {needed} is away")
            if (needed := self._probed[name].dependency.needs) and checks[needed].status != "ok"
            else check
            for name, check in checks.items()
        }

    def verdict(self, checks: Mapping[str, Check]) -> Literal["healthy", "degraded", "unhealthy"]:
        failing = [name for name, check in checks.items() if check.status == "error"]
        if not failing:
            return "healthy"
        is_essential = any(self._probed[name].dependency.essential for name in failing)
        return "unhealthy" if is_essential else "degraded"

    async def watch(self) -> None:
        """Log what does not work, ever less often while that lasts, and what works again, until cancelled.

        /metrics shows the results.
        """
        while True:
            watched = await asyncio.gather(*(one.watched() for one in self._probed.values()))
            for name, check in self._known(dict(zip(self._probed, watched, strict=True))).items():
                self._probed[name].tell(check)
                if check.status != "unknown":
                    _CHECKS.set(check.status == "ok", name)
            await self._clock.sleep(WATCH_SECONDS / 2)

    async def close(self) -> None:
        """Cancel probes that are still running."""
        await asyncio.gather(*(one.close() for one in self._probed.values()))


class _Probed:
    """One dependency, with the result of its last probe."""

    def __init__(self, name: str, dependency: Dependency, clock: Clock, probe_seconds: float) -> None:
        self._name = name
        self.dependency = dependency
        self._clock = clock
        self._probe_seconds = probe_seconds
        self._result = Check("unknown")
        self._began_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._left: set[asyncio.Future[None]] = set()
        """Probes that were given up, and have not ended."""
        self._away_since: float | None = None
        self._lines = 0
        self._next_line_at = 0.0

    async def check(self, fresh_seconds: float = FRESH_SECONDS) -> Check:
        """The last result, or that of a new probe where it is older than `fresh_seconds`."""
        if self._looking is None and self._clock.monotonic() - self._began_at >= fresh_seconds:
            self._looking = asyncio.create_task(self._look(), name=f"probe of {self._name}")
        if self._looking is not None:
            await asyncio.wait({self._looking})
        return self._result

    async def watched(self) -> Check:
        """The last result, or that of a new probe, if it is time for one."""
        works = self._result.status == "ok" and not self.dependency.essential
        return await self.check(self.dependency.watch_seconds if works else WATCH_SECONDS)

    def tell(self, check: Check) -> None:
        """Log what is new; nothing where it is not known."""
        now = self._clock.monotonic()
        if check.status == "ok":
            if self._away_since is not None:
                seconds = round(now - self._away_since, 1)
                log.warning("dependency.back", dependency=self._name, seconds=seconds)
            self._away_since, self._lines = None, 0
        if check.status != "error":
            return
        if self._away_since is None:
            self._away_since = self._next_line_at = now
        if now >= self._next_line_at:
            pause = LOG_SECONDS[min(self._lines, len(LOG_SECONDS) - 1)]
            self._lines += 1
            self._next_line_at = now + pause
            log.warning(
                "dependency.away",
                dependency=self._name,
                reason=check.message,
                seconds=round(now - self._away_since, 1),
                again_in_seconds=pause,
            )

    async def close(self) -> None:
        tasks = [task for task in (self._looking, *self._left) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._probe_seconds)

    async def _look(self) -> None:
        began_at = self._clock.monotonic()
        try:
            self._result = await self._probed()
        finally:
            self._began_at, self._looking = began_at, None

    async def _probed(self) -> Check:
        late = Check("error", f"{self._name} does not answer within {self._probe_seconds:g} s.")
        if len(self._left) >= MAX_LEFT:
            return late
        probing = asyncio.ensure_future(self.dependency.probe())
        self._left.add(probing)
        probing.add_done_callback(self._ended)
        # Not `asyncio.timeout`, which would wait for a library that takes its time to be cancelled. In
        # slices, so that what is late is the probe, and not this daemon, which had no processor.
        for _ in range(SLICES):
            if not probing.done():
                await asyncio.wait({probing}, timeout=self._probe_seconds / SLICES)
        if not probing.done():
            probing.cancel()
            return late
        error = None if probing.cancelled() else probing.exception()
        if error is None:
            return Check("ok")
        if not isinstance(error, ZmartdError):
            log.warning("health.probe_failed", dependency=self._name, exc_info=error)
            return Check("error", f"{self._name} does not answer.")
        return Check("error", error.message)

    def _ended(self, probing: asyncio.Future[None]) -> None:
        self._left.discard(probing)
        if not probing.cancelled():
            probing.exception()  # or asyncio reports it where nobody waits any more


async def health(call: Call[None]) -> HealthBody | JsonResponse:
    """200 while the daemon can serve, 503 while an essential dependency is away."""
    if await call.app[HEALTH].is_serving():
        return HealthBody("ok")
    return JsonResponse(HealthBody("error"), 503)


async def ready(call: Call[None]) -> HealthBody | JsonResponse:
    """As /health, and 503 from when the daemon begins to end: it should be sent nothing more then."""
    if not call.app[HEALTH].is_draining and await call.app[HEALTH].is_serving():
        return HealthBody("ok")
    return JsonResponse(HealthBody("error"), 503)


OPERATIONS: tuple[Operation[Any], ...] = tuple(
    Operation(
        method="GET",
        path=path,
        handler=handler,
        name=name,
        summary=summary,
        tag=MACHINES_TAG,
        access=Access.PUBLIC,
        quota=Quota.NONE,
        responses={200: HealthBody, 503: HealthBody},
    )
    for path, handler, name, summary in (
        ("/health", health, "get_health", "Whether the daemon can serve"),
        ("/ready", ready, "get_readiness", "Whether the daemon should be sent requests"),
    )
)
