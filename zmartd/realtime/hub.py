"""Sends the messages of the bus to the WebSocket clients that subscribed to their markets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import UNSET, UnsetType

from zmartd import config
from zmartd.clock import Clock
from zmartd.errors import DetailedError
from zmartd.log import get_logger
from zmartd.realtime import frames
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client, FrameWriter
from zmartd.realtime.frame_data import AboutMessage
from zmartd.realtime.frames import Broadcast, Frame
from zmartd.realtime.messages import (
    Channel,
    MarketUpdate,
    Message,
    PriceUpdate,
    Retraction,
    Snapshot,
    TradeExecuted,
    VoteCast,
)
from zmartd.realtime.topic import Topic

EVERY_MARKET = "*"
REMEMBERED_MARKETS = 100_000
"""For how many markets the newest version is kept; beyond that, the longest unchanged are dropped."""
_NO_VERSION = -1
MAX_SNAPSHOT_READS = 2
"""Snapshots that are read at once. A subscription costs its sender nothing, also one to no market: all of
them together leave the database's connections to others.
"""
TURN_SECONDS = 5.0
"""How long a subscription waits for its turn to read. It goes on without a snapshot if the database hangs."""
REMEMBERED_RECORDS = 10_000
"""For how many trades and votes it is kept; messages overtake each other by milliseconds."""

SnapshotReader = Callable[[str], Awaitable[Snapshot | None]]
"""Reads the market with this id or address from the database; None if there is none."""

log = get_logger(__name__)


class UnknownMarket(DetailedError[AboutMessage]):
    """There is no such market on the chain; GET /api/markets lists those that there are."""

    code = "market_not_found"


class TooManySubscriptions(DetailedError[AboutMessage]):
    """This connection is subscribed to as many markets as it may be: unsubscribe from some, or use "*"."""

    code = "too_many_subscriptions"

    def __init__(self, market_id: str) -> None:
        super().__init__(AboutMessage(market_id=market_id))


class Hub:
    """The clients of this daemon and what they are subscribed to.

    A client can name a market by its id or its address, which `address_of` derives; its frames use the same
    name. Messages arrive only while `run` runs.
    """

    def __init__(
        self,
        bus: Bus,
        snapshot: SnapshotReader,
        address_of: Callable[[str], str],
        settings: config.RealtimeSettings,
        clock: Clock,
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._bus = bus
        self._snapshot = snapshot
        self._address_of = lru_cache(maxsize=65_536)(address_of)
        self._settings = settings
        self._clock = clock
        self._clients: set[Client] = set()
        self._topics: dict[str, Topic] = {}
        self._newest = _NewestVersions()
        self._listening = asyncio.Event()
        self._reads = asyncio.Semaphore(MAX_SNAPSHOT_READS)
        self._turn_seconds = turn_seconds

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
        """Return when the hub receives messages."""
        await self._listening.wait()

    def connect(self, writer: FrameWriter) -> Client:
        """Add a client, which has no subscriptions."""
        client = Client(writer, self._settings.max_buffered_bytes)
        self._clients.add(client)
        return client

    def disconnect(self, client: Client) -> None:
        """Remove a client and its subscriptions."""
        client.closed = True
        self._clients.discard(client)
        for name in client.subscriptions:
            self._leave(client, name)
        client.subscriptions.clear()

    async def subscribe(self, client: Client, name: str, message_id: str | int | UnsetType = UNSET) -> None:
        """Answer with the present state of the market, and from then on send everything newer.

        `message_id`: that of the answer. A repeated call repeats the answer. One client's calls must not
        overlap. Raises TooManySubscriptions; UnknownMarket, after which the client is not subscribed to it.
        """
        if name not in client.subscriptions:
            if len(client.subscriptions) >= self._settings.max_subscriptions:
                raise TooManySubscriptions(name)
            client.subscriptions.append(name)
        topic = self._topics.setdefault(name, Topic())
        topic.join(client)
        if name == EVERY_MARKET:
            answer = frames.subscribed_to_all(name, client.subscriptions, self._now())
            client.send(frames.answer(answer, message_id))
            topic.admit(client, _NO_VERSION)
            return
        try:
            snapshot = await self._read(name)
        except UnknownMarket:
            if client in topic:
                self._end(client, name)
            raise
        if client.closed or client not in topic:
            return
        answer = frames.subscribed(name, client.subscriptions, snapshot, self._now())
        client.send(frames.answer(answer, message_id))
        topic.admit(client, _NO_VERSION if snapshot is None else snapshot.version)

    def unsubscribe(self, client: Client, name: str, message_id: str | int | UnsetType = UNSET) -> None:
        """Send no more about this market. It is answered even if there was no subscription."""
        if name in client.subscriptions:
            self._end(client, name)
        answer = frames.unsubscribed(name, client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))

    def close(self, code: int, reason: str) -> None:
        """Close all connections."""
        for client in list(self._clients):
            client.close(code, reason)

    def _end(self, client: Client, name: str) -> None:
        client.subscriptions.remove(name)
        self._leave(client, name)

    def _leave(self, client: Client, name: str) -> None:
        topic = self._topics[name]
        topic.leave(client)
        if not topic:
            del self._topics[name]

    def _forward(self, message: Message) -> None:
        if not self._topics or self._newest.is_outdated(message):
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
            topic.publish(by_id, sent_to=topics)

    async def _resync(self, names: list[str]) -> None:
        """Tell the subscribers of `names` that messages may have been lost, and send the present state."""
        for name in names:
            try:
                snapshot = None if name == EVERY_MARKET else await self._read(name)
            except UnknownMarket:
                snapshot = None
            topic = self._topics.get(name)
            if topic is None:
                continue
            # A state that is newer by one version would not tell that trades or retractions are missing.
            _send(topic, frames.resync(name, self._now()))
            if snapshot and snapshot.version >= self._newest.of_update(snapshot.market_id):
                _send(topic, frames.snapshot_frame(snapshot, name))
                topic.refresh(snapshot.version)

    async def _read(self, name: str) -> Snapshot | None:
        """The market's snapshot; None if it cannot be read now. Raises UnknownMarket."""
        try:
            async with self._turn():
                snapshot = await self._snapshot(name)
        except Exception as error:
            # Clients can use later frames without it, and one failed read must not stop all of them.
            log.warning("realtime.snapshot_failed", market=name, reason=repr(error), exc_info=True)
            return None
        if snapshot is None:
            raise UnknownMarket(
                AboutMessage(field="market_id", market_id=name),
                f'There is no market "{name}" on the chain; send the id or the address of one that '
                'GET /api/markets lists, or "*" for all markets.',
            )
        return snapshot

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Raises TimeoutError where others take too long."""
        async with asyncio.timeout(self._turn_seconds):
            await self._reads.acquire()
        try:
            yield
        finally:
            self._reads.release()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


class _NewestVersions:
    """The newest version of each market's state and price, and of each trade and vote, that was forwarded.

    Two daemons may publish two changes of a market in another order than they committed them: a state after a
    newer one, or a trade that has landed again before it was retracted from its first slot.
    """

    def __init__(self) -> None:
        self._states = _BoundedVersions(2 * REMEMBERED_MARKETS)
        self._records = _BoundedVersions(REMEMBERED_RECORDS)

    def of_update(self, market_id: str) -> int:
        """The version of the newest state of a market, or -1."""
        return self._states.get((market_id, Channel.UPDATE))

    def is_outdated(self, message: Message) -> bool:
        """Whether a newer message about the same was forwarded; if not, it is now the newest."""
        match message.data:
            case MarketUpdate() | PriceUpdate():
                return self._states.raise_to((message.market_id, message.channel), message.version)
            case (
                TradeExecuted(trade_id=record_id)
                | VoteCast(vote_id=str(record_id))
                | Retraction(record_id=record_id)
            ):
                return self._records.raise_to((message.market_id, record_id), message.version)
            case _:
                return False


class _BoundedVersions:
    """Versions by key; beyond `limit` keys, those that were set longest ago are dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._versions: dict[tuple[str, str], int] = {}

    def get(self, key: tuple[str, str]) -> int:
        return self._versions.get(key, _NO_VERSION)

    def raise_to(self, key: tuple[str, str], version: int) -> bool:
        """Remember the higher of `version` and the known one. Returns whether the known one was higher."""
        known = self._versions.pop(key, _NO_VERSION)
        self._versions[key] = max(known, version)
        if len(self._versions) > self._limit:
            del self._versions[next(iter(self._versions))]
        return version < known


def _send(topic: Topic, frame: Frame) -> None:
    encoded = frame.encode()
    for client in topic:
        client.send(encoded)
