"""How long the event loop stood still, for all who want to know."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.alerts.loop_lag import RECENT_SAMPLES, SAMPLE_SECONDS, LoopLag


def counted(bound: str) -> float:
    return REGISTRY.get_sample_value("zmartd_event_loop_lag_seconds_bucket", {"le": bound}) or 0


async def test_the_longest_is_known_for_two_seconds_and_until_it_is_taken() -> None:
    clock = ManualClock()
    lag = LoopLag(clock)
    measuring = asyncio.create_task(lag.run())

    async def sample(late_seconds: float) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        clock.advance(SAMPLE_SECONDS + late_seconds)
        for _ in range(3):
            await asyncio.sleep(0)

    long, all_of_them = counted("+Inf") - counted("1.0"), counted("+Inf")
    await sample(3.5)
    await sample(0.5)
    assert (lag.seconds, lag.take_longest()) == (3.5, 3.5)
    for _ in range(RECENT_SAMPLES - 1):
        await sample(0)
    assert (lag.seconds, lag.take_longest()) == (0.5, 0)
    assert counted("+Inf") - counted("1.0") == long + 1
    assert counted("+Inf") == all_of_them + RECENT_SAMPLES + 1
    measuring.cancel()
