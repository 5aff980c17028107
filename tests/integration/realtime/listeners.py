"""Who listens in these tests: a plain reader of the bus, and a client of the hub that keeps its frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from zmartd.market.fees import TradeFees
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import (
    Change,
    Gap,
    MarketUpdate,
    Message,
    Snapshot,
    TradeExecuted,
)

MARKET = "5a" * 32
OTHER_MARKET = "6b" * 32
ADDRESS = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
TRADER = "FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def address_of(market_id: str) -> str:
    return ADDRESS if market_id == MARKET else f"address-of-{market_id}"


def trade(trade_id: str = "t") -> TradeExecuted:
    return TradeExecuted(
        trade_id=trade_id,
        trade_type="buy",
        outcome=True,
        shares=10**9,
        cost_lamports=10**9,
        amount_lamports=10**9,
        fees=TradeFees(0, 0, 0, 0),
        price_yes_before=5 * 10**8,
        price_yes=5 * 10**8,
        user_wallet=TRADER,
        signature=trade_id,
        slot=1,
    )


def state(shares_yes: int = 0) -> MarketUpdate:
    return MarketUpdate(
        state=MarketState.ACTIVE,
        on_chain_address=ADDRESS,
        price_yes=5 * 10**8,
        shares_yes=shares_yes,
        shares_no=0,
        b_parameter=10**11,
        total_volume_lamports=0,
        current_liquidity_lamports=0,
    )


def message(version: int, data: Change | None = None, market_id: str = MARKET) -> Message:
    return Message(market_id, version, trade(f"t{version}") if data is None else data, AT)


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 10) -> None:
    """Return when `condition` holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110 - conditions are of many kinds, few of them events
            await asyncio.sleep(0.005)


class Markets:
    """The rows that snapshots are read from; a read waits while `paused`."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {MARKET: 0, ADDRESS: 0, OTHER_MARKET: 0}
        self.asked = 0
        self.at_once = 0
        """The most reads that waited at the same time."""
        self._waiting = 0
        self.reading = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def read(self, name: str) -> Snapshot | None:
        self.reading.set()
        self.asked += 1
        version = self.versions.get(name)
        self._waiting += 1
        self.at_once = max(self.at_once, self._waiting)
        await self.free.wait()
        self._waiting -= 1
        if version is None:
            return None
        market_id = MARKET if name == ADDRESS else name
        return Snapshot(market_id, version, state(version), AT, "confirmed")


class RecordingWriter:
    """A connection whose client takes everything at once, or nothing when `stalled`."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.stalled = False
        self._unread = 0
        self._arrived = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._unread += len(data) if self.stalled else 0
        self.frames.extend(_payloads(data))
        self._arrived.set()

    def buffered_bytes(self) -> int:
        return self._unread

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self._arrived.set()

    def seqs(self, kind: str) -> list[int]:
        return [frame["seq"] for frame in self.frames if frame["type"] == kind]

    async def until(self, condition: Callable[[RecordingWriter], bool], timeout_seconds: float = 10) -> None:
        """Return when `condition` holds for what has arrived."""
        async with asyncio.timeout(timeout_seconds):
            while not condition(self):
                self._arrived.clear()
                await self._arrived.wait()


class Reader:
    """Reads a bus until it has what is waited for."""

    def __init__(self, bus: Bus) -> None:
        self._items = bus.listen()

    async def next(self) -> Message | Gap:
        async with asyncio.timeout(120):
            return await anext(self._items)

    async def ready(self) -> None:
        assert await self.next() == Gap()

    async def close(self) -> None:
        await self._items.aclose()


def _payloads(data: bytes) -> list[dict[str, Any]]:
    """The JSON of each unmasked text frame."""
    payloads = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        payloads.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return payloads
