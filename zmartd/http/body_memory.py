"""Memory for bodies of strangers: so much for all of them together, and half of it for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from zmartd.http.errors import WebhookBusy

LARGEST_SHARE = 2
"""One caller gets one part in so many: half."""


class BodyMemory:
    """Counts the bytes that are held of bodies, by caller."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._share = capacity_bytes // LARGEST_SHARE
        self._by_caller: Counter[str] = Counter()
        self.held_bytes = 0

    @contextmanager
    def body(self, caller: str) -> Iterator[HeldBody]:
        """A body of `caller`, of which nothing is held any more when the block ends."""
        body = HeldBody(self, caller)
        try:
            yield body
        finally:
            self._change(caller, -body.taken_bytes)

    def take(self, caller: str, more: int) -> None:
        """Raises WebhookBusy where so much more does not fit, altogether or for this caller."""
        if self._by_caller[caller] + more > self._share or self.held_bytes + more > self._capacity:
            raise WebhookBusy
        self._change(caller, more)

    def _change(self, caller: str, more: int) -> None:
        self.held_bytes += more
        self._by_caller[caller] += more
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class HeldBody:
    """One body while it is read."""

    def __init__(self, memory: BodyMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self.taken_bytes = 0
        """Stays when the body is not held any more."""

    def take(self, more: int) -> None:
        """Make room for so many bytes more. Raises WebhookBusy."""
        self._memory.take(self._caller, more)
        self.taken_bytes += more
