"""Sends the messages of streams to the WebSocket clients that subscribed to their markets or wallets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType

from zmartd import config
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.realtime import frames, subscription_answers
from zmartd.realtime.beginnings import Beginning, Wanted, after_snapshot, beginning_of, fits
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client, FrameWriter
from zmartd.realtime.encodings import Encode, text_frame
from zmartd.realtime.filters import Filter
from zmartd.realtime.followed import FollowedStreams, History, Look, StreamUnavailable
from zmartd.realtime.frame_data import ChannelData
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.groups import passing
from zmartd.realtime.hub_state import HubState, Subscription, SubscriptionTable
from zmartd.realtime.messages import AnyMessage, Gap, Message, market_of, wallet_of
from zmartd.realtime.outbox import WRITTEN, Outbox
from zmartd.realtime.stream import Stream
from zmartd.realtime.stream_finder import StreamFinder
from zmartd.realtime.subscription_errors import ForeignStream, TooManySubscriptions, UnknownMarket, not_found
from zmartd.realtime.subscriptions import EVERY_MARKET, Subscriptions, choose, forget
from zmartd.store.streams import StreamPosition

TURN_SECONDS = 5.0
"""How long a subscription waits for the database. Then it is answered without the market's state. That, or
what was missed of the stream, comes as soon as it can be read.
"""
RETRY_SECONDS = 1.0

Watcher = Callable[[str, Sequence[Broadcast]], None]

log = get_logger(__name__)


class Hub:
    """The clients of this daemon and what they are subscribed to.

    A client can name a market by its id or its address; its frames use the same name. A wallet's stream has
    its own name. Messages arrive only while `run` runs.
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
        self._finder = StreamFinder(self._streams, turn_seconds)
        self._settings = settings
        self._clock = clock
        self._clients: set[Client] = set()
        self._outbox = Outbox(settings.max_buffered_bytes, clock)
        self._subscriptions = Subscriptions(self._streams)
        self._members = self._subscriptions.members
        self._watchers: list[Watcher] = []
        self._waitlist = self._subscriptions.waitlist
        self._arrived: list[AnyMessage] = []
        self._wake = asyncio.Event()
        self._listening = asyncio.Event()

    @property
    def clients(self) -> Collection[Client]:
        """Those that are connected."""
        return self._clients

    @property
    def epoch(self) -> str | None:
        """The epoch of the streams; None before the database has answered."""
        return self._streams.epoch

    @property
    def seen(self) -> Look | None:
        """The last look at what the database has, and `told` the last of which everything has been told."""
        return self._streams.seen

    @property
    def told(self) -> Look | None:
        return self._streams.told

    def entries(self) -> dict[str, int]:
        """How many entries each of its tables has. Any thread may ask.

        Without clients none has any but `streams`: those are followed on for clients that come back.
        """
        return {
            "clients": len(self._clients),
            "subscriptions": self._members.count(),
            **self._waitlist.entries(),
            "behind": self._outbox.behind,
            "streams": self._streams.count,
        }

    def sent(self) -> Iterator[tuple[str, int, Iterable[Client]]]:
        """Who was sent a stream up to which number: by the name that the clients gave it."""
        for stream, name, clients in self._members.each():
            yield name, self._streams.seq_of(stream), clients

    async def run(self) -> None:
        """Forward messages until cancelled: this daemon's own without a way over Redis, and once."""
        with self._bus.published_to(self._receive):
            await self._forward()

    async def _forward(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._streams.run())
            tasks.create_task(self._serve_waiting())
            async for item in self._bus.listen():
                if isinstance(item, Gap):
                    self._take_arrived()
                    self._streams.look_now()
                    self._listening.set()
                else:
                    self._receive(item)

    def _receive(self, message: AnyMessage) -> None:
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._take_arrived)
        self._arrived.append(message)

    def _take_arrived(self) -> None:
        """Take together what came within a turn of the event loop: its clients are gone through once."""
        arrived, self._arrived = self._arrived, []
        self._streams.receive(arrived)

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
            self._subscriptions.part(client, name)
        client.subscriptions.clear()
        client.filters.clear()

    def leave(self, clients: Sequence[Client]) -> tuple[HubState, list[list[int] | None]]:
        """Write what waits for these, and send them nothing more: another hub goes on with them.

        Returns the state with which it does, and for each client the places of its subscriptions in it; None
        for one that cannot be described briefly enough. All that the state says was told has been written.
        """
        table = SubscriptionTable()
        places = [
            table.places([self._subscriptions.described(client, name) for name in client.subscriptions])
            for client in clients
        ]
        for client in clients:
            for name in client.subscriptions:
                self._subscriptions.part(client, name)
            client.subscriptions.clear()  # a beat would say that it has all that follows
            client.filters.clear()
            WRITTEN.inc(client.flush())
        return HubState(self._streams.state(), table.subscriptions), places

    def go_on(self, state: HubState) -> None:
        """Go on where the hub of the process before this one was. Before `run`."""
        self._streams.go_on(state.streams)

    def adopt(self, client: Client, subscriptions: Iterable[Subscription], wallet: str | None) -> None:
        """Go on with a client of that hub, which is not trusted until `set_trusted`."""
        client.wallet = wallet
        for one in subscriptions:
            self._subscriptions.adopt(client, one)

    async def subscribe(
        self,
        client: Client,
        name: str,
        message_id: str | int | UnsetType = UNSET,
        since: StreamPosition | None = None,
        chosen: Filter | None = None,
    ) -> None:
        """Answer with the present state of the market, and from then on send everything newer.

        With `since` everything after it is sent instead, if it can all be had. `message_id`: that of the
        answer. `chosen`: what of it the client gets. A repeated call repeats the answer. One client's calls
        must not overlap. Raises TooManySubscriptions; UnknownMarket, ForeignStream, or StreamUnavailable for
        `*` and for a wallet whose session cannot be checked, after which the client is not subscribed to it.
        """
        if client.closed:
            return
        self._require_own(client, name)
        if name not in client.subscriptions:
            if len(client.subscriptions) >= self._settings.max_subscriptions:
                raise TooManySubscriptions(name)
            client.subscriptions.append(name)
        if name == EVERY_MARKET:
            await self._follow_every(client, chosen)
            if client.closed or EVERY_MARKET not in client.subscriptions:
                return
            answer = subscription_answers.subscribed_to_all(EVERY_MARKET, client.subscriptions, self._now())
            client.send(frames.answer(answer, message_id))
            self._admit_to_every(client, chosen)
            return
        self._subscriptions.part(client, name)
        choose(client, name, chosen)
        try:
            stream, missed = await self._finder.find(name, since)
        except UnknownMarket:
            forget(client, name)
            raise
        except (ZmartdError, TimeoutError) as error:
            # Later frames are of use without it, and what is lacking comes as soon as it can be read.
            log.warning("realtime.snapshot_failed", name=name, reason=repr(error))
            if name in client.subscriptions:
                answer = subscription_answers.unknown(name, client.subscriptions, self._now())
                client.send(frames.answer(answer, message_id))
                self._waitlist.wait(name, [client], since)
            return
        if client.closed or name not in client.subscriptions:
            return
        try:
            self._require_own(client, name)
        except ZmartdError:
            forget(client, name)
            raise
        if since is not None and missed is not None and fits(client, missed, name):
            answer = subscription_answers.resumed(name, client.subscriptions, since, self._now())
        else:
            recovered = UNSET if since is None else False
            answer = subscription_answers.begun(
                name, client.subscriptions, stream, self._now(), recovered=recovered
            )
            missed = after_snapshot(stream)
        client.send(frames.answer(answer, message_id))
        self._admit(client, name, stream, missed)

    async def subscribe_to_many(
        self,
        client: Client,
        channels: Mapping[str, StreamPosition | None],
        labels: Mapping[str, str],
        message_id: str | int | UnsetType = UNSET,
        chosen: Filter | None = None,
    ) -> None:
        """`subscribe` to several names, each with the position after which it goes on, and one answer.

        `labels`: what the answer calls each name. Where one of them is refused, nothing has changed. Raises
        what `subscribe` raises.
        """
        for name in channels:
            self._require_own(client, name)
        new = [name for name in channels if name not in client.subscriptions]
        if len(client.subscriptions) + len(new) > self._settings.max_subscriptions:
            raise TooManySubscriptions(new[-1])
        wallet = client.wallet
        if EVERY_MARKET in channels:
            await self._follow_every(client, chosen)
        found = await self._finder.find_all(
            {name: since for name, since in channels.items() if name != EVERY_MARKET}
        )
        if client.closed:
            return
        for name in channels:
            self._require_own(client, name)
            if _has_signed_out(client, wallet, chosen):
                raise ForeignStream(name)
        client.subscriptions += [name for name in channels if name not in client.subscriptions]
        beginnings: dict[str, Beginning | None] = {}
        room = client.room_bytes()
        for name, stream in found.items():
            wanted = Wanted(name, channels[name], chosen)
            beginning = None
            if stream is not None and self._streams.follows(stream):
                beginning = beginning_of(client, wanted, stream, room)
            beginnings[name] = beginning
            room -= 0 if beginning is None else beginning.size_bytes
        answers = [_channel_data(name, labels[name], beginnings.get(name)) for name in channels]
        answer = subscription_answers.subscribed_to_many(answers, client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))
        for name in channels:
            self._subscriptions.part(client, name)
            choose(client, name, chosen)
            beginning = beginnings.get(name)
            if name == EVERY_MARKET:
                self._admit_to_every(client, chosen)
            elif beginning is None:
                self._waitlist.wait(name, [client], channels[name])
            else:
                self._admit(client, name, beginning.stream, beginning.missed)

    def unsubscribe_from_many(
        self, client: Client, names: Iterable[str], message_id: str | int | UnsetType = UNSET
    ) -> None:
        """Send no more about any of these, and answer once."""
        for name in names:
            if name in client.subscriptions:
                self._subscriptions.part(client, name)
                forget(client, name)
        answer = subscription_answers.unsubscribed_from_many(client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))

    def unsubscribe(self, client: Client, name: str, message_id: str | int | UnsetType = UNSET) -> None:
        """Send no more about this market. It is answered even if there was no subscription."""
        if name in client.subscriptions:
            self._subscriptions.part(client, name)
            forget(client, name)
        answer = subscription_answers.unsubscribed(name, client.subscriptions, self._now())
        client.send(frames.answer(answer, message_id))

    def sign_in(self, client: Client, wallet: str) -> Sequence[str]:
        """Let a client see whole wallets, and subscribe to what is for this wallet alone.

        Returns the subscriptions that have ended, because they were for another wallet.
        """
        ended = () if client.wallet in (None, wallet) else self.sign_out(client)
        client.wallet = wallet
        self.set_trusted(client, True)
        return ended

    def sign_out(self, client: Client) -> Sequence[str]:
        """Make a client an anonymous one. Returns the subscriptions that have ended with that."""
        ended = [
            name
            for name in client.subscriptions
            if wallet_of(name) is not None or (name in client.filters and client.filters[name].wallet)
        ]
        for name in ended:
            self._subscriptions.part(client, name)
            forget(client, name)
        client.wallet, client.signed_in = None, False
        return ended

    def set_trusted(self, client: Client, trusted: bool) -> None:
        """Whether the session of a client is known to go on. While it is not, its wallet's stream pauses."""
        if client.signed_in is trusted:
            return
        client.signed_in = trusted
        if trusted:
            self._waitlist.unpause(client)
            self._wake.set()
            return
        for name in client.subscriptions:
            if wallet_of(name) is not None and self._subscriptions.gets(client, name):
                position = self._streams.position(name)
                self._subscriptions.part(client, name)
                self._waitlist.pause(client, name, position)

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with the name of each stream that is told of, and what is told.

        It must neither raise nor block.
        """
        self._watchers.append(watcher)

    def getting(self, message: Message) -> Iterator[tuple[str, Iterable[Client]]]:
        """Who would get this message of a market, by the name that they gave the market."""
        return self._members.getting(message)

    def tell(self, stream: Stream, broadcasts: Sequence[Broadcast]) -> None:
        """Send messages of a stream to its subscribers."""
        self._members.tell(stream, broadcasts)
        log.debug("streams.told", stream=stream.name, seq=stream.seq, messages=len(broadcasts))
        for watcher in self._watchers:
            watcher(stream.name, broadcasts)

    def lose(self, stream_name: str) -> None:
        """Tell the subscribers of a stream that they may have missed messages; its state follows."""
        for name, clients in self._members.part(stream_name):
            self._resync(name, clients)
            self._waitlist.wait(name, clients)
        market_id = market_of(stream_name)
        if market_id is not None:
            self._resync(market_id, self._members.all_without(stream_name))

    def lose_every(self) -> None:
        """Tell the subscribers to all markets that they may have missed messages of any."""
        self._resync(EVERY_MARKET, self._members.all_anew())

    def want(self, name: str) -> bool:
        """Whether anybody is subscribed to this stream by itself."""
        return self._members.any_of(name)

    def want_every(self) -> bool:
        """Whether anybody is subscribed to all markets."""
        return self._members.any_of_all

    def _resync(self, name: str, clients: Iterable[Client]) -> None:
        frame = frames.resync(name, self._now()).encode()
        for client in clients:
            client.send(frame)

    async def _follow_every(self, client: Client, chosen: Filter | None) -> None:
        """Return once nothing can be missed of any market. Raises StreamUnavailable, ForeignStream.

        The client is not subscribed then.
        """
        if self._members.any_of_all:
            return
        wallet = client.wallet
        try:
            await self._finder.looked()
        except (ZmartdError, TimeoutError) as error:
            forget(client, EVERY_MARKET)
            raise StreamUnavailable from error
        if _has_signed_out(client, wallet, chosen):
            forget(client, EVERY_MARKET)
            raise ForeignStream(EVERY_MARKET)

    def _admit_to_every(self, client: Client, chosen: Filter | None) -> None:
        self._subscriptions.part(client, EVERY_MARKET)
        choose(client, EVERY_MARKET, chosen)
        self._members.join_all(client, chosen)

    async def _serve_waiting(self) -> None:
        """Send those who wait for a stream what they lack of it, again and again, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            with suppress(ZmartdError, TimeoutError):
                for name, since in self._waitlist.positions():
                    await self._serve(name, since)

    async def _serve(self, name: str, since: StreamPosition | None) -> None:
        """Serve those who wait for a stream after the same position. Raises TimeoutError, ZmartdError."""
        try:
            stream, missed = await self._finder.find(name, since)
        except UnknownMarket:
            self._end(name)
            return
        for client in self._waitlist.take(name, since):
            if wallet_of(name) is not None and not client.signed_in:
                self._waitlist.pause(client, name, since)
            elif since is not None and missed is not None and fits(client, missed, name):
                self._admit(client, name, stream, missed)
            else:
                if since is not None:
                    client.send(frames.resync(name, self._now()).encode())
                client.send(subscription_answers.state(name, stream, self._now()).encode())
                self._admit(client, name, stream, after_snapshot(stream))

    def _require_own(self, client: Client, name: str) -> None:
        """Raises ForeignStream, StreamUnavailable unless it is a market's, or of the wallet of the client."""
        wallet = wallet_of(name)
        if wallet is not None and wallet != client.wallet:
            raise ForeignStream(name)
        if wallet is not None and not client.signed_in:
            raise StreamUnavailable

    def _admit(self, client: Client, name: str, stream: Stream, missed: Sequence[Broadcast]) -> None:
        """Send a client what it has missed of a stream, and from now on what is new."""
        chosen = client.filters.get(name)
        reached = stream.seq if chosen is None else stream.seq - len(missed)
        for broadcast, previous in passing(chosen, missed, stream.seq - len(missed)):
            client.deliver(broadcast, name, previous)
            reached = broadcast.seq
        self._members.join(client, name, stream.name, reached)

    def _end(self, name: str) -> None:
        """End the subscriptions to a market that is not on the chain after all."""
        frame = frames.error(not_found(name), self._now()).encode()
        for client in self._waitlist.take_all(name):
            forget(client, name)
            client.send(frame)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _has_signed_out(client: Client, wallet: str | None, chosen: Filter | None) -> bool:
    """Whether a client that was signed in as `wallet` is no more, and has chosen what only then it may."""
    return chosen is not None and chosen.wallet is not None and client.wallet is None and wallet is not None


def _channel_data(name: str, label: str, beginning: Beginning | None) -> ChannelData:
    """What an answer to several subscriptions says of one of them, which it calls `label`."""
    if beginning is not None:
        return beginning.channel_data(label)
    return ChannelData(channel=label, known=name == EVERY_MARKET)
