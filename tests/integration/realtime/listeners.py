"""Who publishes and who listens in these tests: markets in Postgres whose streams are appended to, a plain
reader of the bus, and a client of the hub that keeps its frames.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from zmartd.chain.commitment import Commitment
from zmartd.market.fees import TradeFees
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import (
    AnyMessage,
    Change,
    DiscussionChange,
    Gap,
    MarketUpdate,
    Message,
    TradeExecuted,
    WalletChange,
    WalletMessage,
)
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store import markets
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition

MARKET = "5a" * 32
OTHER_MARKET = "6b" * 32
ADDRESS = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
OTHER_ADDRESS = "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"
TRADER = "FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

_INSERT = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version)
values ($1, $2, 'Will it?', 'ACTIVE', 100000000000, 0, 0, 0.5, 0, 0, 42, 1)
on conflict do nothing
"""
_ADD_SHARES = "update markets set shares_yes = shares_yes + $2 where id = $1"


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


def message(data: Change | None = None, market_id: str = MARKET, seq: int | None = None) -> Message:
    """A message, a trade by default. `seq` is its place in a stream of which nothing is stored."""
    position = None if seq is None else StreamPosition("0" * 16, seq)
    commitment: Commitment | None = None if isinstance(data, DiscussionChange) else "confirmed"
    return Message(market_id, trade() if data is None else data, AT, commitment, position)


class Markets:
    """The two markets in the database, and a daemon that changes them."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._publisher = StreamPublisher(bus)

    async def create(self) -> None:
        async with self._database.service() as connection:
            for market_id, address in ((MARKET, ADDRESS), (OTHER_MARKET, OTHER_ADDRESS)):
                await connection.execute(_INSERT, market_id, address)

    async def change(
        self, *changes: Change | None, market_id: str = MARKET, category: str | None = None
    ) -> list[Message]:
        """Commit messages, trades by default, and publish them."""
        committed = await self.commit(*changes, market_id=market_id, category=category)
        await self.publish(committed)
        return committed

    async def commit(
        self, *changes: Change | None, market_id: str = MARKET, category: str | None = None
    ) -> list[Message]:
        """Commit messages, and die before they are published. A state in them is that of the market's row."""
        async with self._database.service() as connection:
            said = []
            for one in changes:
                change = one
                if isinstance(change, MarketUpdate):
                    await connection.execute(_ADD_SHARES, market_id, change.shares_yes)
                    row = await markets.get(connection, market_id)
                    change = msgspec.structs.replace(change, shares_yes=row.shares_yes)
                told = message(change, market_id)
                said.append(msgspec.structs.replace(told, category=category))
            return await self._publisher.append(connection, said)

    async def tell(self, wallet: str, *changes: WalletChange) -> list[WalletMessage]:
        """Commit messages for one wallet, and publish them."""
        committed = await self.commit_for(wallet, *changes)
        await self.publish(committed)
        return committed

    async def commit_for(self, wallet: str, *changes: WalletChange) -> list[WalletMessage]:
        """Commit messages for one wallet, and die before they are published."""
        async with self._database.service() as connection:
            said = [WalletMessage(wallet, change, AT, "confirmed") for change in changes]
            return await self._publisher.append(connection, said)

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        await self._publisher.publish(messages)


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    """Return when `condition` holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110 - conditions are of many kinds, few of them events
            await asyncio.sleep(0.005)


class RecordingWriter:
    """A connection whose client takes everything at once, or nothing when `stalled`."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        """All but beats."""
        self.beats: list[dict[str, Any]] = []
        self.told_before_beats: list[tuple[int, dict[str, Any]]] = []
        """Each beat after an answer, and the number of the newest frame before it."""
        self.closed: tuple[int, str] | None = None
        self.stalled = False
        self._unread = 0
        self._arrived = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._unread += len(data) if self.stalled else 0
        for frame in _payloads(data):
            if frame["type"] != "beat":
                self.frames.append(frame)
                continue
            self.beats.append(frame)
            numbers = [one["seq"] for one in self.frames if "seq" in one]
            if numbers:
                self.told_before_beats.append((numbers[-1], frame))
        self._arrived.set()

    @property
    def behind(self) -> bool:
        return self._unread > 0

    def buffered_bytes(self) -> int:
        return self._unread

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self._arrived.set()

    def seqs(self, kind: str) -> list[int]:
        return [frame["seq"] for frame in self.frames if frame["type"] == kind]

    @property
    def told(self) -> list[int]:
        """The numbers of all frames but answers."""
        return [one["seq"] for one in self.frames if "seq" in one and "subscriptions" not in one["data"]]

    async def until(self, condition: Callable[[RecordingWriter], bool], timeout_seconds: float = 60) -> None:
        """Return when `condition` holds for what has arrived."""
        async with asyncio.timeout(timeout_seconds):
            while not condition(self):
                self._arrived.clear()
                await self._arrived.wait()


class Reader:
    """Reads a bus until it has what is waited for."""

    def __init__(self, bus: Bus) -> None:
        self._items = bus.listen()

    async def next(self) -> AnyMessage | Gap:
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
