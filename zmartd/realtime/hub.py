"""Sends the messages of streams to the WebSocket clients that subscribed to their markets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType

from zmartd import config
from zmartd.clock import Clock
from zmartd.errors import DetailedError, ZmartdError
from zmartd.log import get_logger
from zmartd.realtime import frames
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client, FrameWriter, deliver_to_all
from zmartd.realtime.encodings import Encode, text_frame
from zmartd.realtime.followed import FollowedStreams, History, StreamUnavailable
from zmartd.realtime.frame_data import AboutMessage
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import Message
from zmartd.realtime.outbox import Outbox
from zmartd.realtime.stream import Stream
from zmartd.store.streams import StreamPosition

EVERY_MARKET = "*"
TURN_SECONDS = 5.0
"""How long a subscription waits for the database. Then it is answered without the market's state, which comes
as soon as it can be read.
"""
RETRY_SECONDS = 1.0

Clients = dict[Client, None]
"""Clients in the order in which they subscribed."""

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

    A client can name a market by its id or its address; its frames use the same name. Messages arrive only
    while `run` runs.
    """

    def __init__(
        self,
        bus: Bus,
        history: History,
        settings: config.RealtimeSettings,
        clock: Clock,
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._bus = bus
        self._streams = FollowedStreams(history, self, clock)
        self._settings = settings
        self._clock = clock
        self._clients: set[Client] = set()
        self._outbox = Outbox(settings.max_buffered_bytes, clock)
        self._subscribed: dict[str, dict[str, Clients]] = {}
        """By market, and by the names that clients gave it: those that get its messages."""
        self._waiting: dict[str, Clients] = {}
        """By name: those that get its messages once its state can be read."""
        self._every: Clients = {}
        self._listening = asyncio.Event()
        self._turn_seconds = turn_seconds

    async def run(self) -> None:
        """Forward messages until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._streams.run())
            tasks.create_task(self._serve_waiting())
            async for item in self._bus.listen():
                if isinstance(item, Message):
                    self._streams.receive(item)
                else:
                    self._streams.look_now()
                    self._listening.set()

    async def listening(self) -> None:
        """Return when the hub receives messages."""
        await self._listening.wait()

    def connect(self, writer: FrameWriter, encode: Encode = text_frame) -> Client:
        """Add a client, which has no subscriptions. `encode`: how its frames go over its connection."""
        client = Client(writer, self._outbox, encode)
        self._clients.add(client)
        return client

    def disconnect(self, client: Client) -> None:
        """Remove a client and its subscriptions."""
        client.closed = True
        self._clients.discard(client)
        for name in client.subscriptions:
            self._leave(client, name)
        client.subscriptions.clear()

    async def subscribe(
        self,
        client: Client,
        name: str,
        message_id: str | int | UnsetType = UNSET,
        since: StreamPosition | None = None,
    ) -> None:
        """Answer with the present state of the market, and from then on send everything newer.

        With `since` everything after it is sent instead, if it can all be had. `message_id`: that of the
        answer. A repeated call repeats the answer. One client's calls must not overlap. Raises
        TooManySubscriptions; UnknownMarket, or StreamUnavailable for `*`, after which the client is not
        subscribed to it.
        """
        if name not in client.subscriptions:
            if len(client.subscriptions) >= self._settings.max_subscriptions:
                raise TooManySubscriptions(name)
            client.subscriptions.append(name)
        if name == EVERY_MARKET:
            await self._subscribe_to_every(client, message_id)
            return
        self._leave(client, name)
        try:
            stream, missed = await self._find(name, since)
        except UnknownMarket:
            if name in client.subscriptions:
                client.subscriptions.remove(name)
            raise
        except (ZmartdError, TimeoutError) as error:
            # Later frames are of use without it, and it comes as soon as it can be read.
            log.warning("realtime.snapshot_failed", market=name, reason=repr(error))
            if name in client.subscriptions:
                answer = frames.subscribed(name, client.subscriptions, None, self._now())
                client.send(frames.answer(answer, message_id))
                self._waiting.setdefault(name, {})[client] = None
            return
        if client.closed or name not in client.subscriptions:
            return
        if since is not None and missed is not None and _fits(client, missed, name):
            answer = frames.resumed(name, client.subscriptions, since, self._now())
        else:
            recovered = UNSET if since is None else False
            answer = frames.subscribed(
                name, client.subscriptions, stream.snapshot, self._now(), recovered=recovered
            )
            missed = _after_snapshot(stream)
        client.send(frames.answer(answer, message_id))
        self._admit(client, name, stream, missed)

    def unsubscribe(self, client: Client, name: str, message_id: str | int | UnsetType = UNSET) -> None:
        """Send no more about this market. It is answered even if there was no subscription."""
        if name in client.subscriptions:
            client.subscriptions.remove(name)
            self._leave(client, name)
        answer = frames.unsubscribed(name, client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))

    def close(self, code: int, reason: str) -> None:
        """Close all connections."""
        for client in list(self._clients):
            client.close(code, reason)

    def tell(self, stream: Stream, broadcasts: Sequence[Broadcast]) -> None:
        """Send messages of a stream to its subscribers."""
        names = self._subscribed.get(stream.market_id, {})
        for name, clients in names.items():
            deliver_to_all(clients, broadcasts, name)
        if self._every:
            others = [one for one in self._every if not any(one in clients for clients in names.values())]
            deliver_to_all(others, broadcasts, stream.market_id)

    def lose(self, market_id: str) -> None:
        """Tell the subscribers of a market that they may have missed messages; its state follows."""
        for name, clients in self._subscribed.pop(market_id, {}).items():
            frame = frames.resync(name, self._now()).encode()
            for client in clients:
                client.send(frame)
            self._waiting.setdefault(name, {}).update(clients)
        frame = frames.resync(market_id, self._now()).encode()
        for client in self._every:
            client.send(frame)

    def lose_every(self) -> None:
        """Tell the subscribers to all markets that they may have missed messages of any."""
        frame = frames.resync(EVERY_MARKET, self._now()).encode()
        for client in self._every:
            client.send(frame)

    def want(self, market_id: str) -> bool:
        """Whether anybody is subscribed to this market by itself."""
        return market_id in self._subscribed

    def want_every(self) -> bool:
        """Whether anybody is subscribed to all markets."""
        return bool(self._every)

    async def _subscribe_to_every(self, client: Client, message_id: str | int | UnsetType) -> None:
        """Raises StreamUnavailable, after which the client is not subscribed."""
        if not self._every:
            try:
                async with asyncio.timeout(self._turn_seconds):
                    await self._streams.looked()
            except (ZmartdError, TimeoutError) as error:
                if EVERY_MARKET in client.subscriptions:
                    client.subscriptions.remove(EVERY_MARKET)
                raise StreamUnavailable from error
        if client.closed or EVERY_MARKET not in client.subscriptions:
            return
        answer = frames.subscribed_to_all(EVERY_MARKET, client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))
        self._every[client] = None

    async def _serve_waiting(self) -> None:
        """Send those who wait for a market's state what it is, again and again, until cancelled."""
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            for name in list(self._waiting):
                try:
                    stream, _ = await self._find(name, None)
                except UnknownMarket:
                    self._end(name)
                except (ZmartdError, TimeoutError):
                    break
                else:
                    assert stream.snapshot is not None, "a stream that was found has one"
                    frame = frames.snapshot_frame(stream.snapshot, name).encode()
                    for client in self._waiting.pop(name, {}):
                        client.send(frame)
                        self._admit(client, name, stream, _after_snapshot(stream))

    async def _find(
        self, name: str, since: StreamPosition | None
    ) -> tuple[Stream, Sequence[Broadcast] | None]:
        """A market's stream with its snapshot, and what it has after `since`.

        Raises UnknownMarket, TimeoutError, and errors of the database.
        """
        async with asyncio.timeout(self._turn_seconds):
            while True:
                stream = await self._streams.find(name)
                if stream is None:
                    raise _not_found(name)
                missed = None if since is None else await self._streams.replay(stream, since)
                if self._streams.follows(stream) and stream.snapshot is not None:
                    return stream, missed

    def _admit(self, client: Client, name: str, stream: Stream, missed: Sequence[Broadcast]) -> None:
        """Send a client what it has missed of a stream, and from now on what is new."""
        for broadcast in missed:
            client.deliver(broadcast, name)
        self._subscribed.setdefault(stream.market_id, {}).setdefault(name, {})[client] = None

    def _leave(self, client: Client, name: str) -> None:
        if name == EVERY_MARKET:
            self._every.pop(client, None)
            return
        _remove(self._waiting, name, client)
        market_id = self._streams.id_of(name)
        names = self._subscribed.get(market_id)
        if names is not None:
            _remove(names, name, client)
            if not names:
                del self._subscribed[market_id]

    def _end(self, name: str) -> None:
        """End the subscriptions to a market that is not on the chain after all."""
        frame = frames.error(_not_found(name), self._now()).encode()
        for client in self._waiting.pop(name, {}):
            client.subscriptions.remove(name)
            client.send(frame)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _fits(client: Client, broadcasts: Sequence[Broadcast], name: str) -> bool:
    """Whether a client can be sent all of these, and is not dropped for leaving them unread."""
    room = client.room_bytes()
    for broadcast in broadcasts:
        room -= len(broadcast.encoded(name, client.audience).data)
        if room < 0:
            return False
    return True


def _after_snapshot(stream: Stream) -> Sequence[Broadcast]:
    """What the stream has told since its snapshot: the beginning of a change that is not told whole yet."""
    assert stream.snapshot is not None, "a stream that was found has one"
    later = stream.since(stream.snapshot.position.seq)
    assert later is not None, "it is never dropped"
    return later


def _remove(subscribers: dict[str, Clients], name: str, client: Client) -> None:
    clients = subscribers.get(name)
    if clients is not None:
        clients.pop(client, None)
        if not clients:
            del subscribers[name]


def _not_found(name: str) -> UnknownMarket:
    return UnknownMarket(
        AboutMessage(field="market_id", market_id=name),
        f'There is no market "{name}" on the chain; send the id or the address of one that '
        'GET /api/markets lists, or "*" for all markets.',
    )
