"""Writes the log in a thread, so that nobody waits for whoever reads it.

A pipe whose reader stands still takes 64 kB, and then blocks whoever writes: without this, the whole daemon.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from prometheus_client import Counter

MAX_BYTES: Final = 8 * 2**20
"""How much may wait to be written: what a busy daemon writes in ten seconds. What does not fit is dropped."""
FLUSH_SECONDS: Final = 2.0
"""How long the end of the process waits for what has not been written."""

_DROPPED: Final = Counter(
    "zmartd_log_dropped_lines", "Lines of the log that were dropped, because nobody read the earlier ones."
)


class BackgroundOutput:
    """A text stream whose `write` never waits, in front of a file descriptor. Any thread may write."""

    def __init__(
        self,
        descriptor: int,
        max_bytes: int = MAX_BYTES,
        on_dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_dropped` is called in the writing thread with how many lines were dropped, once others are
        written.
        """
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_writing = False
        self._dropped = 0
        """Lines since the last that was written."""
        self._on_dropped = on_dropped
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Take whole lines, or drop them where too many wait."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._waiting_bytes + len(data) > self._max_bytes:
                lines = text.count("\n") or 1
                self._dropped += lines
                _DROPPED.inc(lines)
                return len(text)
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing: `drain` waits."""

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def drain(self, seconds: float) -> bool:
        """Wait until everything is written; False where it was not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._is_writing), seconds)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                data = b"".join(self._waiting)
                self._waiting.clear()
                self._is_writing = True
            is_written = self._write(data)
            with self._changed:
                # Only now: what is being written still takes up memory.
                self._waiting_bytes -= len(data)
                dropped = self._dropped if is_written else 0
                self._dropped -= dropped
            if dropped:
                self._on_dropped(dropped)

    def _write(self, data: bytes) -> bool:
        """Whether it could be written: nobody may be there to read, or a disk may be full."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # somebody has made the pipe a non-blocking one
                select.select([], [self._descriptor], [])
            except OSError:
                _DROPPED.inc(bytes(view).count(b"\n"))
                return False
        return True


@contextmanager
def background_output(
    stream: TextIO, on_dropped: Callable[[int], None]
) -> Iterator[BackgroundOutput | TextIO]:
    """A `BackgroundOutput` in front of `stream`. The end of the block waits for what is not written yet.

    A stream that is no file is used as it is: nobody can make it wait.
    """
    stream.flush()
    try:
        descriptor = stream.fileno()
    except OSError:
        yield stream
        return
    output = BackgroundOutput(descriptor, on_dropped=on_dropped)
    try:
        yield output
    finally:
        output.drain(FLUSH_SECONDS)
