"""What is kept of positions has a bound, whoever asks for whatever."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256

import msgspec
import pytest

from tests.integration.store.rows import NOON, market_id, wallet
from zmartd.http.trading.position_valuation import value_row
from zmartd.http.wallets import positions
from zmartd.market.lifecycle import MarketState
from zmartd.store.raw_positions import KEPT, Position, PositionMarket, RawPosition, position_of

MOST_BYTES = 50_000_000
CACHES = (position_of, value_row, positions._encoded_body, positions._encoded_row)
ASK: dict[str, Callable[[RawPosition], object]] = {
    "rows": positions._encoded_row,
    "positions": lambda row: positions._encoded_body(row, 0),
    "portfolio": lambda row: value_row(row, 0, True),
}


@pytest.fixture
def _no_caches() -> Iterator[None]:
    yield
    for cache in CACHES:
        cache.cache_clear()


def long_row(name: str) -> RawPosition:
    """A position in a market with the longest question there is, in the characters that take most."""
    number = int.from_bytes(sha256(name.encode()).digest()[:5])
    market = PositionMarket(
        market_id(name), wallet(name), "\N{GRINNING FACE}" * 200, MarketState.ACTIVE, 10**12, number, number,
        number, 500_000_000, None, None, 300, 200, 500,
    )  # fmt: skip
    position = Position(
        wallet(name), number, number, number, number, number, number, 7, False, 0, None, NOON, NOON, number,
        NOON, market,
    )  # fmt: skip
    return RawPosition(msgspec.json.encode(position))


@pytest.mark.usefixtures("_no_caches")
def test_what_is_kept_of_positions_has_a_bound() -> None:
    for cache in CACHES:
        cache.cache_clear()
    tracemalloc.start()
    try:
        for name, ask in ASK.items():
            for number in range(KEPT + 1):
                ask(long_row(f"{name} {number}"))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(cache.cache_info().currsize == KEPT for cache in CACHES)
    assert kept_bytes < MOST_BYTES
