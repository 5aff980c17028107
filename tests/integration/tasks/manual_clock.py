"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 5.0) -> None:
    """Return when `condition` holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110 - conditions are of many kinds, few of them events
            await asyncio.sleep(0.001)


class ManualClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
