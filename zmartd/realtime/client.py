"""A client of the hub: what waits for it, and what becomes of one that does not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.realtime import frames
from zmartd.realtime.batch import Batch, EncodedFrame, conflated
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.encodings import Audience, Encode, audience
from zmartd.realtime.filters import Filter
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.outbox import WRITTEN, Outbox

BEHIND_SECONDS: Final = 5.0
"""How long a client may leave something unread."""
ASKED_BYTES_PER_SECOND: Final = 16_384
"""It may take a second more for each so many bytes of what it asked for."""
MAX_ASKED_BYTES: Final = 2_097_152
"""The most that one subscription that resumes is sent at once: a thousand messages."""

log = get_logger(__name__)

_dropped = Counter("zmartd_websocket_dropped_clients", "WebSocket clients disconnected for being too slow.")
_skipped = Counter("zmartd_websocket_skipped_frames", "Price frames left out for clients that are behind.")


class FrameWriter(Protocol):
    """Writes to the connection of one client. None of its methods waits for the client."""

    @property
    def behind(self) -> bool:
        """Whether the client has left something unread.

        Who sets this to false calls `Client.catch_up`; otherwise the outbox does, within a second.
        """

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends encoded frames, or buffers them until the client reads them."""

    def buffered_bytes(self) -> int:
        """How much is buffered."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection; repeated calls change nothing."""


class Client:
    """Collects frames and writes them together.

    While it leaves something unread, nothing more is written to it, and of what waits only the newest price
    of a market is kept. It is disconnected once more than the outbox allows is unread or waits, or after
    BEHIND_SECONDS. What it asked for itself, the answers to its messages and what it resumes, is allowed
    besides.
    """

    __slots__ = (
        "_asked_bytes",
        "_behind_since",
        "_encode",
        "_is_answering",
        "_writer",
        "audience",
        "closed",
        "filters",
        "outbox",
        "pending",
        "subscriptions",
        "wallet",
    )

    def __init__(self, writer: FrameWriter, outbox: Outbox, encode: Encode) -> None:
        self.outbox = outbox
        self.wallet: str | None = None
        """The wallet of its session; while `signed_in` is false, it is not known whether that goes on."""
        self.subscriptions: list[str] = []
        self.filters: dict[str, Filter] = {}
        """Of the subscriptions that have one, by their names."""
        self.closed = False
        self.pending: Batch | None = None
        """What waits to be written."""
        self.audience = audience(encode, signed_in=False)
        self._encode = encode
        self._writer = writer
        self._asked_bytes = 0
        """How much of what is unread it has asked for."""
        self._behind_since: float | None = None
        self._is_answering = False

    @property
    def signed_in(self) -> bool:
        """Whether it sees whole wallets."""
        return self.audience.signed_in

    @signed_in.setter
    def signed_in(self, signed_in: bool) -> None:
        self.audience = audience(self._encode, signed_in=signed_in)

    @property
    def is_behind(self) -> bool:
        """Whether frames are held back because it has left others unread."""
        return self._behind_since is not None

    def send(self, text: bytes) -> None:
        """Send one frame, given as JSON text, at the end of this turn of the event loop."""
        if not self.closed:
            self.pending = Batch(self.pending, (self.outbox.encoded(text, self.audience),), asked=True)
            if not self._is_answering:
                self._is_answering = True
                asyncio.get_running_loop().call_soon(self._answer)

    def deliver(self, broadcast: Broadcast, name: str, prev_seq: int | None = None) -> None:
        """Send a message that it asked for, about the market that it knows as `name`.

        `prev_seq` is that of the message before it that passes its filter, if it has one.
        """
        if not self.closed:
            if self.pending is None:
                self.outbox.add(self)
            encoded = broadcast.encoded(name, self.audience, prev_seq)
            self.pending = Batch(self.pending, (encoded,), asked=True)

    def room_bytes(self) -> int:
        """How much of what it asks for can be sent at once."""
        waiting = 0 if self.pending is None else self.pending.size
        return MAX_ASKED_BYTES - self._writer.buffered_bytes() - waiting

    def flush(self) -> int:
        """Write what waits, or hold it back. Returns how many frames were written."""
        batch = self.pending
        if batch is None or self.closed:
            return 0
        writer = self._writer
        was_behind = writer.behind
        if was_behind:
            self._hold_back(batch)
            return 0
        self.pending = None
        writer.write(batch.data())
        if writer.behind:
            self._asked_bytes = batch.asked_bytes
            self._fall_behind()
        return batch.count

    def catch_up(self) -> None:
        """Go on: all that was written has been read."""
        self._behind_since = None
        self._asked_bytes = 0
        self.outbox.unwatch(self)
        if self.pending is not None:
            self.pending = self._conflated(self.pending)
            WRITTEN.inc(self.flush())

    def check(self, now: float) -> None:
        """Disconnect it if it has been behind for too long."""
        if not self._writer.behind:
            self.catch_up()
        elif self._behind_since is not None:
            allowed_seconds = BEHIND_SECONDS + self._asked_bytes / ASKED_BYTES_PER_SECOND
            if now - self._behind_since > allowed_seconds:
                self.drop()
            elif self.pending is not None:
                self._hold_back(self.pending)

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent before."""
        if self.closed:
            return
        if self.pending is not None:
            self._writer.write(self.pending.data())
        self._end(code, reason)

    def drop(self) -> None:
        """Disconnect a client that does not keep up."""
        if self.closed:
            return
        _dropped.inc()
        log.warning("websocket.dropped_slow_client", buffered_bytes=self._writer.buffered_bytes())
        self._end(CloseCode.TRY_AGAIN_LATER, "too slow: more is waiting for you than may be kept")

    def _end(self, code: int, reason: str) -> None:
        self.closed = True
        self.pending = None
        self.outbox.unwatch(self)
        self._writer.close(code, reason)

    def _answer(self) -> None:
        self._is_answering = False
        WRITTEN.inc(self.flush())

    def _fall_behind(self) -> None:
        if self._behind_since is None:
            self._behind_since = self.outbox.clock.monotonic()
            self.outbox.watch(self)

    def _hold_back(self, batch: Batch) -> None:
        self._fall_behind()
        if self._exceeds(batch):
            self.pending = batch = self._conflated(batch)
            if self._exceeds(batch):
                self.drop()

    def _exceeds(self, batch: Batch) -> bool:
        """Whether more is unread, and waits, than may be."""
        allowed = self.outbox.max_buffered_bytes + self._asked_bytes + batch.asked_bytes
        return self._writer.buffered_bytes() + batch.size > allowed

    def _conflated(self, batch: Batch) -> Batch:
        return conflated(batch, self._skipped_frame)

    def _skipped_frame(self, name: str, seqs: Sequence[int]) -> EncodedFrame:
        _skipped.inc(len(seqs))
        now = datetime.fromtimestamp(self.outbox.clock.time(), UTC)
        return EncodedFrame(self._encode(frames.skipped(name, seqs, now).encode()))


class Shared(Protocol):
    """Something that many clients get."""

    def encoded(self, name: str, audience: Audience, prev_seq: int | None = None) -> EncodedFrame:
        """Its frame for clients that know the market as `name`.

        `prev_seq` is that of the message before it that passes the clients' filter, if they have one.
        """


def deliver_to_all(
    clients: Iterable[Client],
    broadcasts: Sequence[Shared],
    name: str,
    previous: Sequence[int | None] = (),
) -> None:
    """Send messages about a market to the clients that know it as `name`, with wallets as each may see them.

    `previous` are the numbers of the messages before each that pass the clients' filter, if they have one.
    Clients for whom the same waits go on to have the same waiting: the same bytes.
    """
    audiences = dict[Audience, tuple[Sequence[EncodedFrame], dict[Batch | None, Batch]]]()
    waiting: list[Client] = []
    last: Audience | None = None
    encoded: Sequence[EncodedFrame] = ()
    batches: dict[Batch | None, Batch] = {}
    for client in clients:
        if client.closed:
            continue
        if client.audience is not last:
            last = client.audience
            if last not in audiences:
                audiences[last] = _encoded(broadcasts, name, last, previous), {}
            encoded, batches = audiences[last]
        before = client.pending
        batch = batches.get(before)
        if batch is None:
            batch = batches[before] = Batch(before, encoded)
        client.pending = batch
        if before is None or client.is_behind:
            waiting.append(client)
    if waiting:
        waiting[0].outbox.add(*waiting)


def _encoded(
    broadcasts: Sequence[Shared], name: str, audience: Audience, previous: Sequence[int | None]
) -> list[EncodedFrame]:
    if not previous:
        return [one.encoded(name, audience) for one in broadcasts]
    return [one.encoded(name, audience, seq) for one, seq in zip(broadcasts, previous, strict=True)]
