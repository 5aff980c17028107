"""How often strangers can make the daemon ask the chain about transactions that the index cannot tell of."""

from __future__ import annotations

from collections import OrderedDict

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.indexer.fetch import TransactionNotFound

LOOKUPS_PER_MINUTE = 120
"""Of one daemon, each of two paid RPC calls at most. A transaction of the program's is indexed within seconds
and then needs none, so who is turned away by somebody's flood learns of his own a little later."""
NOT_FOUND_SECONDS = 2.0
"""For so long the chain is not asked again about a signature that it did not know."""
_WINDOW_SECONDS = 60.0


class LookupsExhausted(ZmartdError):
    """Too many have asked about transactions that nobody here knows: ask again in the next minute."""

    code = "lookups_exhausted"


class Lookups:
    """Counts them by the minute, and remembers what was not found. It holds LOOKUPS_PER_MINUTE signatures."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = LOOKUPS_PER_MINUTE
        self._renewed_at = clock.monotonic()
        self._not_found: OrderedDict[str, float] = OrderedDict()

    def take(self, signature: str) -> None:
        """Count one. Raises TransactionNotFound when the answer is known, LookupsExhausted."""
        now = self._clock.monotonic()
        asked_at = self._not_found.get(signature)
        if asked_at is not None and now - asked_at < NOT_FOUND_SECONDS:
            raise TransactionNotFound(signature=signature)
        if now - self._renewed_at >= _WINDOW_SECONDS:
            self._renewed_at, self._left = now, LOOKUPS_PER_MINUTE
        if self._left == 0:
            raise LookupsExhausted(retry_after_seconds=int(_WINDOW_SECONDS - (now - self._renewed_at)) + 1)
        self._left -= 1

    def was_not_found(self, signature: str) -> None:
        self._not_found[signature] = self._clock.monotonic()
        self._not_found.move_to_end(signature)
        if len(self._not_found) > LOOKUPS_PER_MINUTE:
            self._not_found.popitem(last=False)
