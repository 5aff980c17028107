"""Time as a parameter, so that tests need neither sleep nor patch."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Unix seconds of the wall clock. It may jump, so never measure durations with it."""

    def monotonic(self) -> float:
        """Seconds that never decrease, for durations and time-outs."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
