"""Chain time: the machine's time plus the offset of time travels."""

from __future__ import annotations

from zmartd.clock import Clock


class ChainClock:
    """Unix seconds for the Clock sysvar. The clock never goes back."""

    def __init__(self, clock: Clock, offset_seconds: int, not_before_unix_time: int) -> None:
        self._clock = clock
        self._offset_seconds = offset_seconds
        self._latest_unix_time = not_before_unix_time

    @property
    def offset_seconds(self) -> int:
        """How far the chain is ahead of the machine."""
        return self._offset_seconds

    def read(self) -> int:
        """The chain's unix time now, in whole seconds."""
        now = int(self._clock.time()) + self._offset_seconds
        self._latest_unix_time = max(self._latest_unix_time, now)
        return self._latest_unix_time

    def travel(self, seconds: int) -> None:
        """Put the clock forward by `seconds`."""
        assert seconds >= 0, "chain time only moves forward"
        self._offset_seconds = self.read() + seconds - int(self._clock.time())
