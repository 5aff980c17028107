"""Counts over the last minutes, of numbers that only grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping


class Window:
    """How much numbers have grown within the last `seconds`, from samples in the order of their times."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, Mapping[str, float]]] = deque()

    def add(self, at: float, numbers: Mapping[str, float]) -> None:
        """Take a sample at a time of the monotonic clock. The newest before the window is its beginning."""
        self._samples.append((at, numbers))
        while len(self._samples) > 1 and self._samples[1][0] <= at - self._seconds:
            self._samples.popleft()

    def growth(self, name: str) -> int:
        """How much a number has grown since the beginning of the window; 0 with less than two samples."""
        if not self._samples:
            return 0
        return int(self._samples[-1][1].get(name, 0) - self.first(name))

    def first(self, name: str) -> float:
        """The number at the beginning of the window; 0 without a sample."""
        return self._samples[0][1].get(name, 0) if self._samples else 0

    def most(self, name: str) -> float:
        """The greatest of the samples."""
        return max((numbers.get(name, 0) for _, numbers in self._samples), default=0)
