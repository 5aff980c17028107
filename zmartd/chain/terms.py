"""Limits for the daemon's own transactions and for relayed ones: how many at a time, and how often sent."""

from __future__ import annotations

from msgspec import Struct


class Rebroadcasts(Struct, frozen=True):
    """When a transaction that no block holds is sent again: `times` times, after pauses that begin with
    `first_seconds` and double up to `longest_seconds`."""

    first_seconds: float
    longest_seconds: float
    times: int

    def pause_seconds(self, sent: int) -> float | None:
        """The pause after it was sent for the `sent`-th time; None: it is not sent again."""
        if sent > self.times:
            return None
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (sent - 1))


class Terms(Struct, frozen=True):
    """How many transactions of a kind may be pending at a time (`places`), and how often each is sent."""

    places: int
    rebroadcasts: Rebroadcasts


OWN = Terms(places=1_000, rebroadcasts=Rebroadcasts(2.0, 2.0, times=30))
"""The daemon's own transactions have places that no relayed one takes, and are sent again for the 60 seconds
that a blockhash lives."""
RELAYED = Terms(places=9_000, rebroadcasts=Rebroadcasts(2.0, 16.0, times=5))
"""Each is sent six times at most: at once, and 2, 6, 14, 30 and 46 seconds later."""
