"""`zmartd serve` in a process that kills itself where it is told to.

    python -m tests.stress.armed serve --config FILE

Orders come as lines on the standard input: `kill inbox.committed 3` ends the process with SIGKILL when it
reaches that point for the third time from now on, `spare` takes the order back, and `clock 600` sets the
process's clock ten minutes ahead. Each is answered with a line on the standard output, as is the first time
that a point is reached: `reached inbox.committed`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from zmartd.cli import main
from zmartd.clock import SystemClock
from zmartd.faults import Point, watching


class Trap:
    """Counts down to the kill. Orders come from another thread, one at a time."""

    def __init__(self) -> None:
        self._reached: set[Point] = set()
        self._order: tuple[Point, int] | None = None

    async def pass_by(self, point: Point) -> None:
        if point not in self._reached:
            self._reached.add(point)
            _say(f"reached {point}")
        if self._order is None or self._order[0] is not point:
            return
        left = self._order[1] - 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._order = point, left

    def listen(self) -> None:
        """Take orders until the one who gives them is gone."""
        for line in sys.stdin:
            match line.split():
                case ["kill", point, times]:
                    self._order = Point(point), int(times)
                case ["spare"]:
                    self._order = None
                case ["clock", seconds]:
                    _set_clock_ahead(float(seconds))
                case _:
                    raise ValueError(f"no such order: {line!r}")
            _say(f"ordered {line.strip()}")


def _set_clock_ahead(seconds: float) -> None:
    SystemClock.time = staticmethod(lambda: time.time() + seconds)


def _say(line: str) -> None:
    # One write, so that lines of two threads never mix.
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    trap = Trap()
    threading.Thread(target=trap.listen, daemon=True).start()
    with watching(trap.pass_by):
        main()
