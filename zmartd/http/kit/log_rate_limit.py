"""Log lines that strangers can multiply: so many in a second are written, and the others counted."""

from __future__ import annotations

from zmartd.clock import Clock

LINES_PER_SECOND = 100
"""A daemon that is well has fewer refusals. At this pace they come to 3.5 GB a day."""


class Sparing:
    """Says which of a kind of lines to write."""

    def __init__(self, clock: Clock, per_second: int = LINES_PER_SECOND) -> None:
        self._clock = clock
        self._per_second = per_second
        self._second = 0
        self._written = 0
        self._left_out = 0

    def admits(self) -> bool:
        """Whether one more line fits into this second; one that does not is counted."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == self._per_second:
            self._left_out += 1
            return False
        self._written += 1
        return True

    def left_out(self) -> int:
        """How many did not fit since this was asked last."""
        count, self._left_out = self._left_out, 0
        return count
