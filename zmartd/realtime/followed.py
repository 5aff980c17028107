"""The streams that a daemon follows, kept up with the database.

The bus brings messages within milliseconds and may lose them. The database has them all: it is asked every
second which streams have changed, and at once for those messages that others show to be missing. So what was
committed reaches every hub, whatever happened to the process that committed it and to Redis.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.realtime.batched_reads import BatchedReads
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.hub_state import StreamsState
from zmartd.realtime.messages import AnyMessage, Message, Snapshot, market_of, market_stream, wallet_of
from zmartd.realtime.stream import MAX_RECENT as MAX_RECENT_OF_ONE
from zmartd.realtime.stream import Stream
from zmartd.store.pulses import Pulse
from zmartd.store.streams import Changes, StreamPosition

POLL_SECONDS = 1.0
MAX_STREAMS = 20_000
"""Streams that are followed although nobody is subscribed to them any more."""
MAX_RECENT = 50_000
"""Messages of all streams that are kept for clients that resume."""
MAX_NAMES = 500
"""Markets that one read asks for."""
REPLAYED_BEFORE = 200
"""Messages that are read beyond those that one client has missed: others will have missed a little more."""
MAX_UNFOLLOWED = 2_000
"""The newest messages of other streams: one of them may be read at this moment."""
LOOK_SECONDS = 0.02
"""The least time between two looks at the database, and before one that was in vain is repeated."""
REPEAT_SECONDS = 0.5
"""How soon a read that failed is repeated."""
MAX_ATTEMPTS = 10

log = get_logger(__name__)


class StreamUnavailable(ZmartdError):
    """The streams cannot be followed now, because the database does not answer: subscribe again."""

    code = "stream_unavailable"


class History(Protocol):
    """The streams in the database. The methods raise ZmartdError when it does not answer."""

    async def changes(self, horizon: str | None) -> Changes: ...

    async def after(self, positions: Mapping[str, StreamPosition]) -> dict[str, list[AnyMessage]]: ...

    async def positions(self, names: Sequence[str]) -> dict[str, StreamPosition]: ...

    async def snapshots(self, names: Sequence[str]) -> dict[str, Snapshot]: ...


class Look(Struct, frozen=True):
    """A look at the database that succeeded.

    It began at `began_at` by the monotonic clock, and saw `pulse`.
    """

    began_at: float
    pulse: Pulse | None


class Subscribers(Protocol):
    """Who is told of the streams that are followed. None of it waits."""

    def tell(self, stream: Stream, broadcasts: Sequence[Broadcast]) -> None:
        """Messages of a stream, in order, each once."""

    def lose(self, name: str) -> None:
        """A stream cannot be followed any further: it is another one now, or older than the history."""

    def lose_every(self) -> None:
        """All streams are other ones now, also those that are not followed."""

    def want(self, name: str) -> bool:
        """Whether anybody is subscribed to the stream with this name."""

    def want_every(self) -> bool:
        """Whether anybody is subscribed to all markets."""


class FollowedStreams:
    """The streams of markets and wallets that are or were subscribed to. `run` has to be running."""

    def __init__(self, history: History, subscribers: Subscribers, clock: Clock) -> None:
        self._history = history
        self._subscribers = subscribers
        self._clock = clock
        self._epoch: str | None = None
        self._horizon: str | None = None
        """Where the next look begins, also after `run` has failed and begins again."""
        self._found: Mapping[str, tuple[int, int]] = {}
        """What the last look found. The next one may find some of it again."""
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        """By name, the longest unchanged first."""
        self._ids: dict[str, str] = {}
        """The ids of markets by their addresses."""
        self._unfollowed: deque[AnyMessage] = deque(maxlen=MAX_UNFOLLOWED)
        self._remembering: OrderedDict[str, Stream] = OrderedDict()
        """Those that have messages for clients that resume, the longest unchanged first."""
        self._kept = 0
        """How many messages they have."""
        self._due = asyncio.Event()
        self._fetches: set[asyncio.Task[None]] = set()
        self._has_ended = False
        self._fetching: set[str] = set()
        self._since: dict[str, StreamPosition] = {}
        self.seen: Look | None = None
        """The last look."""
        self.told: Look | None = None
        """The last one of which everything has been told."""
        self._looks = BatchedReads(self._look, 1)
        self._looks_done = 0
        self._snapshots = BatchedReads(history.snapshots, MAX_NAMES)
        self._positions = BatchedReads(history.positions, MAX_NAMES)
        self._missing = BatchedReads(self._read_missing, MAX_NAMES)
        self._older = BatchedReads(self._read_older, MAX_NAMES)

    async def run(self) -> None:
        """Ask the database what has changed, again and again, until cancelled."""
        self._has_ended = False
        for stream in self._streams.values():
            if stream.behind:
                self._fetch(stream)
        answers = True
        try:
            while True:
                self._due.clear()
                began_at = self._clock.monotonic()
                try:
                    await self.looked()
                except ZmartdError as error:
                    if answers:
                        log.warning("realtime.history_unavailable", reason=error.message)
                    answers = False
                else:
                    answers = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._due.wait()
                        pause = began_at + LOOK_SECONDS - self._clock.monotonic()
                        if pause > 0:
                            await self._clock.sleep(pause)
        finally:
            self._has_ended = True
            for fetch in self._fetches:
                fetch.cancel()

    def state(self) -> StreamsState:
        """How far everything has been told, for `go_on` in the next process."""
        followed = self._streams
        ids = {address: market for address, market in self._ids.items() if market_stream(market) in followed}
        positions = {name: stream.position for name, stream in followed.items()}
        known = {name: stream.known for name, stream in followed.items() if stream.behind}
        return StreamsState(self._epoch, self._horizon, self._found, positions, known, ids)

    def go_on(self, state: StreamsState) -> None:
        """Go on where the process before this one was, and not with what comes next. Before `run`."""
        self._epoch, self._horizon, self._found = state.epoch, state.horizon, state.found
        self._ids.update(state.ids)
        for name, position in state.positions.items():
            stream = self._add(Stream(name, position))
            stream.learn(state.known.get(name, 0))

    def look_now(self) -> None:
        """Ask at once: something may have been lost."""
        self._due.set()

    async def looked(self) -> None:
        """Return after a look that begins from now on. What is committed after it, later ones find.

        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        await self._looks.get("")

    def receive(self, messages: Iterable[AnyMessage]) -> None:
        """Messages from the bus, in its order."""
        known: dict[Stream, list[AnyMessage]] = {}
        for message in messages:
            stream = self._streams.get(message.stream)
            if stream is None:
                self._unfollowed.append(message)
                if self._subscribers.want_every() and isinstance(message, Message):
                    self.look_now()
            elif message.position is None or message.position.epoch != stream.epoch:
                self.look_now()
            else:
                known.setdefault(stream, []).append(message)
        for stream, its_messages in known.items():
            self._take(stream, its_messages)

    @property
    def count(self) -> int:
        """How many streams are followed."""
        return len(self._streams)

    @property
    def epoch(self) -> str | None:
        """The epoch that the last look saw."""
        return self._epoch

    def seq_of(self, name: str) -> int:
        """The number of the newest message of a stream that is followed, which its subscribers have."""
        return self._streams[name].seq

    def id_of(self, name: str) -> str:
        """The id of a market that is followed, by its id or address."""
        return self._ids.get(name, name)

    def position(self, name: str) -> StreamPosition | None:
        """How far the stream with this name has come, if it is followed."""
        stream = self._streams.get(name)
        return None if stream is None else stream.position

    def follows(self, stream: Stream) -> bool:
        """Whether this stream is still the one that is followed."""
        return self._streams.get(stream.name) is stream

    def at_hand(self, name: str, since: StreamPosition | None) -> Stream | None:
        """The stream of a wallet or market if it is followed, with all that is had of it after `since`.

        None where something has to be read first.
        """
        private = wallet_of(name) is not None
        stream = self._streams.get(name if private else market_stream(self.id_of(name)))
        if stream is None or (stream.snapshot is None and not private):
            return None
        if since is not None and since.epoch == stream.epoch and not stream.has_since(since.seq):
            return None
        return stream

    async def find(self, name: str) -> Stream | None:
        """The stream of the market with this id or address, which has its snapshot; None if there is none.

        Raises StreamUnavailable, DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        for _ in range(MAX_ATTEMPTS):
            stream = self._streams.get(market_stream(self.id_of(name)))
            if stream is not None and stream.snapshot is not None:
                return stream
            looks = self._looks_done
            snapshot = await self._snapshots.get(name)
            if snapshot is None:
                return None
            if market_stream(snapshot.market_id) not in self._streams and self._subscribers.want_every():
                # What is in the snapshot already, and in no look, those that follow all have yet to be told.
                await self.looked()
            stream = self._adopt(name, snapshot)
            if stream is not None and looks != self._looks_done:
                # A look may have found what came after the snapshot, when the stream was not followed.
                self._fetch(stream)
            if stream is not None and stream.behind:
                await self._missing.get(stream.name)
            if stream is None:
                await self._clock.sleep(LOOK_SECONDS)
        raise StreamUnavailable

    async def find_wallet(self, name: str) -> Stream:
        """A wallet's stream by its name, followed from where it is in the database, if not from before.

        Raises StreamUnavailable, DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        for _ in range(MAX_ATTEMPTS):
            stream = self._streams.get(name)
            if stream is not None:
                return stream
            looks = self._looks_done
            position = await self._positions.get(name)
            assert position is not None, "every stream has one"
            if self._epoch is None or position.epoch == self._epoch:
                stream = self._follow_from(name, position)
                self._take(stream, [one for one in self._unfollowed if one.stream == name])
                if looks != self._looks_done:  # as in `find`
                    self._fetch(stream)
                return stream
            self.look_now()
            await self._clock.sleep(LOOK_SECONDS)
        raise StreamUnavailable

    async def replay(self, stream: Stream, since: StreamPosition) -> Sequence[Broadcast] | None:
        """All messages after `since`, as far as the stream has come; None where they cannot all be had.

        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        if since.epoch != stream.epoch:
            return None
        if since.seq > stream.seq:
            await self._missing.get(stream.name)
        found = stream.since(since.seq)
        if found is None and 0 < stream.seq - since.seq <= MAX_RECENT_OF_ONE:
            seq = max(0, min(since.seq, stream.seq - REPLAYED_BEFORE))
            if (known := self._since.get(stream.name)) is not None:
                seq = min(seq, known.seq)
            self._since[stream.name] = StreamPosition(stream.epoch, seq)
            older, before = await self._older.get(stream.name), stream.recent
            stream.remember(older or ())
            self._remembered(stream, stream.recent - before)
            found = stream.since(since.seq)
        return found

    async def _look(self, _: Sequence[str]) -> Mapping[str, None]:
        began_at = self._clock.monotonic()
        changes = await self._history.changes(self._horizon)
        self._looks_done += 1
        self._horizon = changes.horizon
        self._follow(changes)
        self.seen = Look(began_at, changes.pulse)
        self._note_told()
        return {}

    def _follow(self, changes: Changes) -> None:
        is_first = changes.epoch != self._epoch
        if is_first:
            self._begin(changes.epoch)
        for name, (first, last) in changes.streams.items():
            followed = self._streams.get(name)
            if followed is None and market_of(name) is None:
                continue
            if followed is None:
                _, told = self._found.get(name, (0, 0))
                before = max(first - 1, told)
                if is_first or before >= last or not self._subscribers.want_every():
                    continue
                # It has not changed since the last look but for what is new: that is the first to tell.
                followed = self._add(Stream(name, StreamPosition(changes.epoch, before)))
            followed.learn(last)
            if followed.behind:
                self._fetch(followed)
        self._found = changes.streams

    def _begin(self, epoch: str) -> None:
        """Begin with the first epoch, or with another one: then all that was followed is lost."""
        previous, self._epoch, self._found = self._epoch, epoch, {}
        for stream in [one for one in self._streams.values() if one.epoch != epoch]:
            self._drop(stream)
            self._subscribers.lose(stream.name)
        if previous is not None:
            self._subscribers.lose_every()
        for stream in self._streams.values():  # they were read before the first look
            self._fetch(stream)

    def _note_told(self) -> None:
        if not self._fetching:
            self.told = self.seen

    def _adopt(self, name: str, snapshot: Snapshot) -> Stream | None:
        """The stream of a market that was read; None if it has to be read again."""
        if self._epoch is not None and snapshot.position.epoch != self._epoch:
            self.look_now()
            return None
        if name != snapshot.market_id:
            self._ids[name] = snapshot.market_id
        stream = self._follow_from(market_stream(snapshot.market_id), snapshot.position)
        if not stream.adopt(snapshot):
            return None
        self._take(stream, [one for one in self._unfollowed if one.stream == stream.name])
        return stream

    def _follow_from(self, name: str, position: StreamPosition) -> Stream:
        """The stream with this name, which is followed from this position on unless it is already."""
        return self._streams.get(name) or self._add(Stream(name, position))

    def _add(self, stream: Stream) -> Stream:
        self._streams[stream.name] = stream
        if len(self._streams) > MAX_STREAMS:
            self._drop_one(stream)
        return stream

    def _drop_one(self, added: Stream) -> None:
        """Drop the longest unchanged stream that nobody is subscribed to, other than the one just added."""
        wants_every = self._subscribers.want_every()
        for name, stream in self._streams.items():
            is_wanted = self._subscribers.want(name) or (wants_every and market_of(name) is not None)
            if not is_wanted and stream is not added:
                self._drop(stream)
                return

    def _drop(self, stream: Stream) -> None:
        del self._streams[stream.name]
        if self._remembering.pop(stream.name, None) is not None:
            self._kept -= stream.recent

    def _take(self, stream: Stream, messages: Sequence[AnyMessage]) -> None:
        before = stream.recent
        ready = stream.receive(messages)
        if ready:
            self._streams.move_to_end(stream.name)
            self._remembered(stream, stream.recent - before)
            self._subscribers.tell(stream, ready)
        if stream.behind:
            self._fetch(stream)

    def _remembered(self, stream: Stream, more: int) -> None:
        """Keep no more messages of all streams than there is room for: those of the longest unchanged go."""
        self._kept += more
        self._remembering[stream.name] = stream
        self._remembering.move_to_end(stream.name)
        while self._kept > MAX_RECENT:
            _, oldest = self._remembering.popitem(last=False)
            self._kept -= oldest.forget()

    def _fetch(self, stream: Stream) -> None:
        """Fetch what the stream is behind of, beside what else goes on.

        Not once `run` has ended, which does it when it begins again.
        """
        if self._has_ended or stream.name in self._fetching:
            return
        self._fetching.add(stream.name)
        task = asyncio.create_task(self._catch_up(stream), name="catch up with a stream")
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _catch_up(self, stream: Stream) -> None:
        try:
            while self.follows(stream):
                before = stream.seq
                try:
                    await self._missing.get(stream.name)
                except ZmartdError:
                    await self._clock.sleep(REPEAT_SECONDS)
                    continue
                if not stream.behind:
                    return
                if stream.seq == before and self.follows(stream):
                    log.warning("realtime.history_too_short", stream=stream.name, seq=before)
                    self._drop(stream)
                    self._subscribers.lose(stream.name)
        finally:
            self._fetching.discard(stream.name)
            self._note_told()

    async def _read_missing(self, names: Sequence[str]) -> Mapping[str, Sequence[AnyMessage]]:
        """Read what follows each stream in memory, and take it."""
        followed = [self._streams[one] for one in names if one in self._streams]
        if not followed:
            return {}
        try:
            found = await self._history.after({one.name: one.position for one in followed})
        except ZmartdError as error:
            log.warning("realtime.catch_up_failed", streams=len(followed), reason=error.message)
            raise
        for stream in followed:
            if self.follows(stream):
                self._take(stream, found[stream.name])
        return found

    async def _read_older(self, names: Sequence[str]) -> Mapping[str, Sequence[AnyMessage]]:
        return await self._history.after({name: self._since.pop(name) for name in names})
