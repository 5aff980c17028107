"""How long the event loop stands still: for /health, for /metrics, and for the rules of alerts."""

from __future__ import annotations

from typing import Final

from zmartd.cancellation import is_being_cancelled
from zmartd.clock import Clock
from zmartd.metrics import Histogram

SAMPLE_SECONDS: Final = 0.25
RECENT_SAMPLES: Final = 8
"""Two seconds."""

_LAGS: Final = Histogram(
    "zmartd_event_loop_lag_seconds",
    "How much later than asked for the event loop went on, four times a second.",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
).labels()


class LoopLag:
    """Measures it. `run` has to be running."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: list[float] = []
        self._longest = 0.0

    @property
    def seconds(self) -> float:
        """The longest in the last two seconds."""
        return max(self._recent, default=0.0)

    def take_longest(self) -> float:
        """The longest, in seconds, since this was called before."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def run(self) -> None:
        """Measure until cancelled."""
        while not is_being_cancelled():
            before = self._clock.monotonic()
            await self._clock.sleep(SAMPLE_SECONDS)
            lag = max(0.0, self._clock.monotonic() - before - SAMPLE_SECONDS)
            self._recent = [*self._recent[1 - RECENT_SAMPLES :], lag]
            self._longest = max(self._longest, lag)
            _LAGS.observe(lag)
