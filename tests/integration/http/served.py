"""Applications as the daemon runs them, for tests that talk to them over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zmartd import config
from zmartd.clock import Clock, SystemClock
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.server.connection_limits import ConnectionLimits
from zmartd.http.server.runner import Runner
from zmartd.http.server.timeouts import ConnectionTimeouts

Client = TestClient[web.Request, Any]
"""A client of one of them."""

PLENTY = config.ServerSettings(max_connections=3_000, max_connections_per_ip=3_000)


class StandingClock(SystemClock):
    """A clock whose seconds pass when a test says so."""

    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


class SweptClock(StandingClock):
    """A clock on which a server sweeps its connections all the time, while it may."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.may_sweep = asyncio.Event()
        self.may_sweep.set()

    async def sleep(self, seconds: float) -> None:
        self.sweeps += 1
        await super().sleep(0.01)
        await self.may_sweep.wait()

    async def wait(self, seconds: float) -> None:
        """Let `seconds` pass, with a whole sweep before and after."""
        for passed in (0.0, seconds):
            self.seconds += passed
            enough = self.sweeps + 2
            while self.sweeps < enough:  # noqa: ASYNC110 - sweeps are no events
                await asyncio.sleep(0.005)


class Served(TestServer):
    """A server of an application, as the daemon runs it."""

    def __init__(
        self,
        app: web.Application,
        settings: config.ServerSettings = PLENTY,
        *,
        hands_over: bool | None = None,
        **options: Any,
    ) -> None:
        """`hands_over`: as for `Runner`."""
        super().__init__(app, **options)
        self._settings = settings
        self._hands_over = hands_over

    async def _make_runner(self, **options: Any) -> Runner:
        return served_by(self.app, self._settings, hands_over=self._hands_over, **options)


Serve = Callable[[Served], Awaitable[Client]]
"""Serves it on a port and gives a client, as the fixture `aiohttp_client` does."""


def served_by(
    app: web.Application,
    settings: config.ServerSettings = PLENTY,
    clock: Clock | None = None,
    **options: Any,
) -> Runner:
    """What runs an application, within the limits of `settings`."""
    clock = clock or SystemClock()
    limits = ConnectionLimits(settings, TrustedProxies(settings.trusted_proxies, clock), clock, 4_096)
    return Runner(app, limits, ConnectionTimeouts(settings, clock), clock, **options)
