"""A WebSocket client that subscribes to every market, and records the frames."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from msgspec import Struct

EVERY_MARKET = "*"
SUBSCRIPTION_SECONDS = 10.0


class RecordedPrice(Struct, frozen=True):
    """The price of YES and the sum of both outcomes' shares, from one frame."""

    price_yes: float
    total_shares: str


class WebSocketRecorder:
    """Counts frames, and keeps each market's states in their order and its newest price.

    `trades` are the signatures of all trades. `problems` are errors, and frames that are older than one
    before.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.states: dict[str, list[str]] = defaultdict(list)
        self.prices: dict[str, RecordedPrice] = {}
        self.trades: set[str] = set()
        self.problems: list[str] = []
        self._sequence: dict[str, int] = {}
        self._subscribed = False
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def recording(self, session: ClientSession, url: str) -> AsyncIterator[None]:
        """Record for the length of a block. Raises TimeoutError when the subscription is not answered."""
        async with session.ws_connect(url) as socket:
            listening = asyncio.create_task(self._listen(socket))
            try:
                await socket.send_json({"action": "subscribe", "market_id": EVERY_MARKET})
                if not await self.wait_for(lambda: self._subscribed, SUBSCRIPTION_SECONDS):
                    raise TimeoutError("the WebSocket did not answer the subscription")
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def wait_for(self, holds: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for frames until `holds()`; False after the time-out."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_trades(self, signatures: Set[str], timeout_seconds: float) -> Set[str]:
        """Wait for the frames of these trades; the trades whose frames did not come."""
        await self.wait_for(lambda: signatures <= self.trades, timeout_seconds)
        return signatures - self.trades

    async def wait_for_states(self, market_id: str, states: Sequence[str], timeout_seconds: float) -> bool:
        """Wait for these states; whether exactly these came, in this order."""
        return await self.wait_for(lambda: self.states[market_id] == list(states), timeout_seconds)

    async def _listen(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.take(message.json())
                self._changed.set()

    def take(self, frame: dict[str, Any]) -> None:
        """Record one frame."""
        self.frames += 1
        match frame:
            case {"type": "error", "data": {"code": code, "error": text}}:
                self.problems.append(f"error {code}: {text}")
            case {"type": "market_state", "market_id": "*"}:
                self._subscribed = True
            case {"type": "trade", "data": {"signature": signature}}:
                self.trades.add(signature)
            case {"type": "market_state" | "price_update" as kind, "market_id": market_id, "seq": seq}:
                self._follow(market_id, kind, seq, frame["data"])

    def _follow(self, market_id: str, kind: str, seq: int, data: dict[str, Any]) -> None:
        newest = self._sequence.get(market_id, 0)
        if seq < newest:
            self.problems.append(f"{kind} {seq} of {market_id[:8]} after {newest}")
            return
        self._sequence[market_id] = seq
        self.prices[market_id] = RecordedPrice(data["priceYes"], data["totalShares"])
        states = self.states[market_id]
        if "state" in data and states[-1:] != [data["state"]]:
            states.append(data["state"])
