"""Clients of the WebSocket that come and go, stall, resume on another daemon, and check every frame."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import aiohttp
import msgspec

from tests.stress.told import Subscription, Told, Violation

MARKETS = 4
"""The most markets that one client is subscribed to."""
STAY_SECONDS = (0.3, 12.0)
STALL_SECONDS = (0.5, 4.0)
AWAY_SECONDS = (0.0, 2.0)
OPEN_SECONDS = 30.0
"""How long a connection may take to open."""
POLL_SECONDS = 0.25
_CLOSING = aiohttp.ClientWSTimeout(ws_close=2.0)


class Subscriber:
    """A person with a browser: what it has seen outlives its connections."""

    def __init__(
        self, session: aiohttp.ClientSession, daemons: Sequence[str], told: Told, rng: random.Random
    ) -> None:
        """`daemons` are the URLs of their APIs."""
        self._session = session
        self._daemons = daemons
        self._told = told
        self._rng = rng
        self._subscriptions: dict[str, Subscription] = {}
        self._stays = asyncio.Event()
        self._leaves = asyncio.Event()
        self.connections = 0
        self.done: Counter[str] = Counter()
        self.violation: Violation | None = None

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """By market."""
        return self._subscriptions

    def stay(self, *, on: bool) -> None:
        """Remain connected and subscribed, and do nothing else."""
        if on:
            self._stays.set()
        else:
            self._stays.clear()

    def leave(self) -> None:
        """Disconnect, and do not come back."""
        self._leaves.set()

    async def live(self, markets: Sequence[str]) -> None:
        """Until told to leave, or until there is a violation. `markets` grows."""
        while not self._leaves.is_set() and self.violation is None:
            if not self._stays.is_set():
                await asyncio.sleep(self._rng.uniform(*AWAY_SECONDS))
                self._choose(markets)
            try:
                await self._connect()
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.1)
            except Violation as violation:
                self.violation = violation
            finally:
                for one in self._subscriptions.values():
                    one.lose()

    def _choose(self, markets: Sequence[str]) -> None:
        """Take up one market more, or give one up and forget where it was, from time to time."""
        if not markets:
            return
        if len(self._subscriptions) < MARKETS and self._rng.random() < 0.4:
            name = self._rng.choice(markets[-2 * MARKETS :])
            self._subscriptions.setdefault(name, Subscription(name, self._told))
        elif len(self._subscriptions) > 1 and self._rng.random() < 0.2:
            one = self._subscriptions.pop(self._rng.choice(list(self._subscriptions)))
            self.done += one.done

    async def _connect(self) -> None:
        opening = self._session.ws_connect(f"{self._rng.choice(self._daemons)}/ws", timeout=_CLOSING)
        async with await asyncio.wait_for(opening, OPEN_SECONDS) as socket:
            self.connections += 1
            for one in self._subscriptions.values():
                await socket.send_str(one.ask())
            await self._listen(socket)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Read until it is time to go, or the connection ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._rng.uniform(*STAY_SECONDS)
        while not self._leaves.is_set() and (self._stays.is_set() or loop.time() < until):
            try:
                message = await socket.receive(POLL_SECONDS)
            except TimeoutError:
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            frame = msgspec.json.decode(message.data)
            subscription = self._subscriptions.get(frame.get("market_id", ""))
            if subscription is not None:
                subscription.check(frame)
                if subscription.ended and not subscription.gone:
                    await socket.send_str(subscription.ask())
            if not self._stays.is_set():
                await self._do_something(socket)

    async def _do_something(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Now and then stop reading for a while, or unsubscribe; `_listen` then subscribes again."""
        chance = self._rng.random()
        if chance < 0.01:
            await asyncio.sleep(self._rng.uniform(*STALL_SECONDS))
        elif chance < 0.03 and self._subscriptions:
            name = self._rng.choice(list(self._subscriptions))
            await socket.send_str(self._subscriptions[name].leave())
