"""A limit on how often callers can make the daemon ask the chain for transactions that are not indexed."""

from __future__ import annotations

from collections import OrderedDict

from zmartd.clock import Clock
from zmartd.errors import DetailedError, RetryDetails
from zmartd.indexer.fetch import TransactionDetails, TransactionNotFound

LOOKUPS_PER_MINUTE = 120
"""For all callers of one daemon together. A lookup takes two paid RPC calls at most,
four for a transaction that the node does not give. The program's own
transactions are indexed within seconds and need no lookup after that, so a flood of lookups only delays the
answers about them."""
NOT_FOUND_SECONDS = 2.0
"""How long the chain is not asked again for a signature that it did not know."""
_WINDOW_SECONDS = 60.0


class LookupsExhausted(DetailedError[RetryDetails]):
    """Too many have asked about transactions that nobody here knows: ask again in the next minute."""

    code = "lookups_exhausted"


class LookupLimit:
    """Counts lookups in windows of a minute, and remembers up to LOOKUPS_PER_MINUTE unknown signatures."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = LOOKUPS_PER_MINUTE
        self._window_started_at = clock.monotonic()
        self._not_found_at: OrderedDict[str, float] = OrderedDict()

    def take(self, signature: str) -> None:
        """Count a lookup.

        Raises LookupsExhausted, and TransactionNotFound for a signature that was not found just before.
        """
        now = self._clock.monotonic()
        not_found_at = self._not_found_at.get(signature)
        if not_found_at is not None and now - not_found_at < NOT_FOUND_SECONDS:
            raise TransactionNotFound(TransactionDetails(signature))
        if now - self._window_started_at >= _WINDOW_SECONDS:
            self._window_started_at, self._left = now, LOOKUPS_PER_MINUTE
        if self._left == 0:
            seconds_left = _WINDOW_SECONDS - (now - self._window_started_at)
            raise LookupsExhausted(RetryDetails(int(seconds_left) + 1))
        self._left -= 1

    def note_not_found(self, signature: str) -> None:
        """Remember that the chain does not know this signature."""
        self._not_found_at[signature] = self._clock.monotonic()
        self._not_found_at.move_to_end(signature)
        if len(self._not_found_at) > LOOKUPS_PER_MINUTE:
            self._not_found_at.popitem(last=False)
