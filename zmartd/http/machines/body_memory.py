"""Memory for bodies of strangers: so much for all of them together, and half of it for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from zmartd.http.errors.requests import WebhookBusy

LARGEST_SHARE = 2
"""One caller gets one part in so many: half."""
FREE_BYTES = 65_536
"""The beginning of each body, which is held without being counted: other routes read as much of anybody. A
usual delivery is shorter, so it is read whoever holds all the rest."""


class BodyMemory:
    """Counts the bytes that are held of bodies beyond their first FREE_BYTES, by caller.

    At most FREE_BYTES for each open connection and `capacity_bytes` for all together are held.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._share = capacity_bytes // LARGEST_SHARE
        self._by_caller: Counter[str] = Counter()
        self.counted_bytes = 0
        self.held_bytes = 0
        """With what is not counted."""

    @contextmanager
    def body(self, caller: str) -> Iterator[HeldBody]:
        """A body of `caller`, of which nothing is held any more when the block ends."""
        body = HeldBody(self, caller)
        try:
            yield body
        finally:
            self.change(caller, held=-body.taken_bytes, counted=-beyond_free(body.taken_bytes))

    def fits_altogether(self, more: int) -> bool:
        return self.counted_bytes + more <= self._capacity

    def fits_share(self, caller: str, more: int) -> bool:
        return self._by_caller[caller] + more <= self._share

    def change(self, caller: str, *, held: int, counted: int) -> None:
        self.held_bytes += held
        self.counted_bytes += counted
        self._by_caller[caller] += counted
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class HeldBody:
    """One body while it is read."""

    def __init__(self, memory: BodyMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self.taken_bytes = 0
        """Stays when the body is not held any more."""
        self.crowded_out = False
        """Whether it did not fit because of what others hold."""

    def take(self, more: int) -> None:
        """Make room for so many bytes more. Raises WebhookBusy."""
        counted = beyond_free(self.taken_bytes + more) - beyond_free(self.taken_bytes)
        if counted:
            if not self._memory.fits_share(self._caller, counted):
                raise WebhookBusy
            if not self._memory.fits_altogether(counted):
                self.crowded_out = True
                raise WebhookBusy
        self._memory.change(self._caller, held=more, counted=counted)
        self.taken_bytes += more


def beyond_free(length: int) -> int:
    """How many of a body's first `length` bytes are counted."""
    return max(0, length - FREE_BYTES)
