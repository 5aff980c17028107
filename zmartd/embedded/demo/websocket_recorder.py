"""Somebody who watches every market over the WebSocket, and remembers what was said."""

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


class Quote(Struct, frozen=True):
    """What a frame says of a market's curve: the price of YES and the shares behind both prices together."""

    price_yes: float
    total_shares: str


class Watcher:
    """Counts frames, and keeps per market the states it was told in their order, and the newest quote.

    `trades` are the signatures of all trades told. `faults` are what must not be: a state or price older than
    one told before, an error.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.states: dict[str, list[str]] = defaultdict(list)
        self.quotes: dict[str, Quote] = {}
        self.trades: set[str] = set()
        self.faults: list[str] = []
        self._sequence: dict[str, int] = {}
        self._subscribed = False
        self._told = asyncio.Event()

    @asynccontextmanager
    async def watching(self, session: ClientSession, url: str) -> AsyncIterator[None]:
        """Watch for the length of a block. Raises TimeoutError when the subscription is not answered."""
        async with session.ws_connect(url) as socket:
            listening = asyncio.create_task(self._listen(socket))
            try:
                await socket.send_json({"action": "subscribe", "market_id": EVERY_MARKET})
                if not await self.until(lambda: self._subscribed, SUBSCRIPTION_SECONDS):
                    raise TimeoutError("the WebSocket did not answer the subscription")
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def until(self, holds: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for frames until `holds()`; False when it still does not after the time-out."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not holds():
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            return False
        return True

    async def until_told(self, signatures: Set[str], timeout_seconds: float) -> Set[str]:
        """Wait for the frames of these trades; returns those that never came."""
        await self.until(lambda: signatures <= self.trades, timeout_seconds)
        return signatures - self.trades

    async def until_lived(self, market_id: str, states: Sequence[str], timeout_seconds: float) -> bool:
        """Wait for the last of these states; whether these and no others were told, in this order."""
        return await self.until(lambda: self.states[market_id] == list(states), timeout_seconds)

    async def _listen(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.take(message.json())
                self._told.set()

    def take(self, frame: dict[str, Any]) -> None:
        """Remember what one frame says."""
        self.frames += 1
        match frame:
            case {"type": "error", "data": {"code": code, "error": text}}:
                self.faults.append(f"error {code}: {text}")
            case {"type": "market_state", "market_id": "*"}:
                self._subscribed = True
            case {"type": "trade", "data": {"signature": signature}}:
                self.trades.add(signature)
            case {"type": "market_state" | "price_update" as kind, "market_id": market_id, "seq": seq}:
                self._follow(market_id, kind, seq, frame["data"])

    def _follow(self, market_id: str, kind: str, seq: int, data: dict[str, Any]) -> None:
        newest = self._sequence.get(market_id, 0)
        if seq < newest:
            self.faults.append(f"{kind} {seq} of {market_id[:8]} after {newest}")
            return
        self._sequence[market_id] = seq
        self.quotes[market_id] = Quote(data["priceYes"], data["totalShares"])
        told = self.states[market_id]
        if "state" in data and told[-1:] != [data["state"]]:
            told.append(data["state"])
