"""Time as a parameter, so that nothing has to sleep or patch to be tested."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Unix seconds by the wall clock. It may jump: never measure durations with it."""

    def monotonic(self) -> float:
        """Seconds that only grow; for durations and time-outs."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
