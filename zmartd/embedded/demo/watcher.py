"""Somebody who watches every market over the WebSocket, and remembers what was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType


class Watcher:
    """Counts frames and keeps the last state and price of each market, and the trades that were told."""

    def __init__(self) -> None:
        self.frames = 0
        self.states: dict[str, str] = {}
        self.prices: dict[str, float] = {}
        self.trades: set[str] = set()
        self.steps_back: list[str] = []
        self._sequence: dict[str, int] = {}
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def watching(self, session: ClientSession, url: str) -> AsyncIterator[None]:
        """Watch for the length of a block."""
        async with session.ws_connect(url) as socket:
            await socket.send_json({"action": "subscribe", "market_id": "*"})
            task = asyncio.create_task(self._listen(socket))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until_told(self, signatures: set[str], timeout_seconds: float) -> set[str]:
        """Wait for frames about these trades; returns those that never came."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not signatures <= self.trades:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return signatures - self.trades

    async def _listen(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._take(message.json())
                self._changed.set()

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames += 1
        market_id, data = frame.get("market_id"), frame.get("data", {})
        if market_id is None:
            return
        if frame["type"] == "trade":
            self.trades.add(data["signature"])
            return
        if frame["type"] not in {"market_state", "price_update"} or "seq" not in frame:
            return
        if frame["seq"] < self._sequence.get(market_id, 0):
            self.steps_back.append(f"{market_id}: {frame['type']} {frame['seq']}")
        self._sequence[market_id] = frame["seq"]
        self.states[market_id] = data.get("state", self.states.get(market_id, ""))
        self.prices[market_id] = data["priceYes"]
