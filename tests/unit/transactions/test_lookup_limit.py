from __future__ import annotations

import pytest

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.errors import RetryDetails
from zmartd.indexer.fetch import TransactionNotFound
from zmartd.transactions.lookup_limit import (
    LOOKUPS_PER_MINUTE,
    NOT_FOUND_SECONDS,
    LookupLimit,
    LookupsExhausted,
)


def test_a_minute_has_so_many_lookups_whoever_asks() -> None:
    clock = ManualClock()
    lookups = LookupLimit(clock)
    for number in range(LOOKUPS_PER_MINUTE):
        lookups.take(f"signature {number}")
    clock.advance(17.5)
    with pytest.raises(LookupsExhausted) as refused:
        lookups.take("one more")
    assert refused.value.details == RetryDetails(43)
    clock.advance(42.5)
    lookups.take("one more")


def test_what_was_not_found_is_not_looked_up_again_at_once() -> None:
    clock = ManualClock()
    lookups = LookupLimit(clock)
    lookups.take("unknown")
    lookups.note_not_found("unknown")
    for _ in range(2 * LOOKUPS_PER_MINUTE):
        with pytest.raises(TransactionNotFound):
            lookups.take("unknown")
    lookups.take("another")
    clock.advance(NOT_FOUND_SECONDS)
    lookups.take("unknown")
