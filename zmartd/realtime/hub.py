"""Brings what is published to the WebSocket clients that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache

from zmartd import config
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.realtime import frames
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client, Outlet
from zmartd.realtime.frames import Broadcast, Frame
from zmartd.realtime.latest import LatestStates
from zmartd.realtime.messages import Message, Snapshot
from zmartd.realtime.topic import Topic

EVERY_MARKET = "*"
_UNKNOWN = -1

SnapshotReader = Callable[[str], Awaitable[Snapshot | None]]
"""Reads a market, named by its id or its address, as the database has it; None when there is none."""

log = get_logger(__name__)


class TooManySubscriptions(ZmartdError):
    """This connection is subscribed to as many markets as it may be: unsubscribe from some, or use "*"."""

    code = "too_many_subscriptions"


class Hub:
    """The clients of this daemon and what they are subscribed to.

    A market can be named by its id or by its address, which `address_of` derives; frames name it as the
    client did. `run` has to be running for anything to arrive.
    """

    def __init__(
        self,
        bus: Bus,
        snapshot: SnapshotReader,
        address_of: Callable[[str], str],
        settings: config.Realtime,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._snapshot = snapshot
        self._address_of = lru_cache(maxsize=65_536)(address_of)
        self._settings = settings
        self._clock = clock
        self._clients: set[Client] = set()
        self._topics: dict[str, Topic] = {}
        self._latest = LatestStates()
        self._listening = asyncio.Event()

    async def run(self) -> None:
        """Forward messages until cancelled."""
        resync: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            async for item in self._bus.listen():
                if isinstance(item, Message):
                    self._forward(item)
                    continue
                if resync is not None:
                    resync.cancel()
                resync = tasks.create_task(self._resync(list(self._topics)))
                self._listening.set()

    async def listening(self) -> None:
        """Return when the hub hears what is published."""
        await self._listening.wait()

    def connect(self, outlet: Outlet) -> Client:
        """A new client, without subscriptions."""
        client = Client(outlet, self._settings.max_buffered_bytes)
        self._clients.add(client)
        return client

    def disconnect(self, client: Client) -> None:
        """Forget a client."""
        client.gone = True
        self._clients.discard(client)
        for name in client.subscriptions:
            self._leave(client, name)
        client.subscriptions.clear()

    async def subscribe(self, client: Client, name: str) -> None:
        """Answer with the market as it is now, and from then on send everything newer than that.

        Repeating it gives the answer again. One at a time for each client. Raises TooManySubscriptions.
        """
        if name not in client.subscriptions:
            if len(client.subscriptions) >= self._settings.max_subscriptions:
                raise TooManySubscriptions(limit=self._settings.max_subscriptions)
            client.subscriptions.append(name)
        topic = self._topics.setdefault(name, Topic())
        topic.join(client)
        if name == EVERY_MARKET:
            client.send(frames.subscribed_to_all(name, client.subscriptions, self._now()).encode())
            topic.admit(client, _UNKNOWN)
            return
        snapshot = await self._read(name)
        if client.gone or client not in topic:
            return
        client.send(frames.subscribed(name, client.subscriptions, snapshot, self._now()).encode())
        topic.admit(client, _UNKNOWN if snapshot is None else snapshot.version)

    def unsubscribe(self, client: Client, name: str) -> None:
        """Send no more about this market. Answered also when there was no subscription."""
        if name in client.subscriptions:
            client.subscriptions.remove(name)
            self._leave(client, name)
        client.send(frames.unsubscribed(name, client.subscriptions, self._now()).encode())

    def close(self, code: int, reason: str) -> None:
        """Close all connections."""
        for client in list(self._clients):
            client.close(code, reason)

    def _leave(self, client: Client, name: str) -> None:
        topic = self._topics[name]
        topic.leave(client)
        if not topic:
            del self._topics[name]

    def _forward(self, message: Message) -> None:
        if not self._topics or self._latest.is_late(message):
            return
        by_id = Broadcast(message, message.market_id)
        topics = []
        if topic := self._topics.get(message.market_id):
            topic.publish(by_id)
            topics.append(topic)
        address = self._address_of(message.market_id)
        if topic := self._topics.get(address):
            topic.publish(Broadcast(message, address))
            topics.append(topic)
        if topic := self._topics.get(EVERY_MARKET):
            topic.publish(by_id, elsewhere=topics)

    async def _resync(self, names: list[str]) -> None:
        """Tell the subscribers of `names` where things stand, after messages may have been missed."""
        for name in names:
            snapshot = None if name == EVERY_MARKET else await self._read(name)
            topic = self._topics.get(name)
            if topic is None:
                continue
            if snapshot is None:
                _send(topic, frames.resync(name, self._now()))
            elif snapshot.version >= self._latest.version(snapshot.market_id):
                _send(topic, frames.snapshot_frame(snapshot, name))
                topic.refresh(snapshot.version)

    async def _read(self, name: str) -> Snapshot | None:
        try:
            return await self._snapshot(name)
        except Exception as error:
            # Live frames are worth having without it, and one bad read must not silence every client.
            log.warning("realtime.snapshot_failed", market=name, reason=str(error), exc_info=True)
            return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _send(topic: Topic, frame: Frame) -> None:
    encoded = frame.encode()
    for client in topic:
        client.send(encoded)
