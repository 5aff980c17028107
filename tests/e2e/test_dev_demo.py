"""`zmartd dev --demo`: wallets that trade, and go on after everything was killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.development import Development, wait_until_gone

PATIENCE_SECONDS = 90


class Life(Development):
    """A development system with actors in it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "--demo")

    @property
    def markets(self) -> list[dict[str, Any]]:
        markets: list[dict[str, Any]] = self.get("api", "/api/markets?limit=100")["markets"]
        return markets

    @property
    def trades(self) -> int:
        return sum(market["trades_count"] for market in self.markets)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], Life]]:
    """Starts a system, always on the same data; none outlives the test."""
    begun: list[Life] = []

    def start() -> Life:
        begun.append(Life(tmp_path))
        return begun[-1]

    yield start
    for life in begun:
        if life.process.poll() is None:
            life.stop(signal.SIGKILL)
    assert wait_until_gone(tmp_path) == []


def test_the_same_wallets_go_on_trading_after_everything_was_killed(begin: Callable[[], Life]) -> None:
    life = begin()
    wait_until(lambda: life.trades >= 2)
    creators = {market["creator_wallet"] for market in life.markets}
    life.stop(signal.SIGKILL)

    again = begin()
    kept = again.trades
    assert kept >= 2
    wait_until(lambda: again.trades >= kept + 2)
    known = {market["creator_wallet"] for market in again.markets}
    assert creators <= known
    assert len(known) <= 6
    again.stop(signal.SIGTERM)
    assert again.process.returncode == 0
