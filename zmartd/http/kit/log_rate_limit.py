"""A rate limit for log lines that clients can cause."""

from __future__ import annotations

from zmartd.clock import Clock

LINES_PER_SECOND = 100
"""A healthy daemon refuses fewer requests. At this rate the lines make 3.5 GB a day."""


class LogRateLimit:
    """Allows so many lines in each second, and counts those that it suppresses."""

    def __init__(self, clock: Clock, per_second: int = LINES_PER_SECOND) -> None:
        self._clock = clock
        self._per_second = per_second
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def allow(self) -> bool:
        """Whether one more line may be written in this second."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == self._per_second:
            self._suppressed += 1
            return False
        self._written += 1
        return True

    def take_suppressed(self) -> int:
        """The number of lines suppressed since the last call."""
        count, self._suppressed = self._suppressed, 0
        return count
