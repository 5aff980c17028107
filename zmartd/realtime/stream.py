"""One stream as a daemon knows it: its messages in order, in whatever way and order they arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import (
    AnyMessage,
    MarketUpdate,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    Snapshot,
    TradeExecuted,
)
from zmartd.store.streams import StreamPosition

MAX_EARLY = 1_000
"""Messages kept that came before others of their stream. What comes beyond is fetched."""
MAX_RECENT = 1_000
"""Messages of one stream that are kept for clients that resume."""


class Stream:
    """The stream of a market or a wallet, from the position after which this daemon follows it.

    `receive` takes messages however they come and returns each once and in order. It does no input or output:
    whoever has it fetches what is `behind`.
    """

    __slots__ = (
        "_early",
        "_known",
        "_max_early",
        "_max_recent",
        "_recent",
        "_snapshot",
        "_unsettled",
        "epoch",
        "name",
        "seq",
    )

    def __init__(
        self,
        name: str,
        position: StreamPosition,
        *,
        max_early: int = MAX_EARLY,
        max_recent: int = MAX_RECENT,
    ) -> None:
        self.name = name
        self.epoch = position.epoch
        self.seq = position.seq
        """The number of the newest message that was returned."""
        self._known = position.seq
        self._max_early = max_early
        self._max_recent = max_recent
        self._early: dict[int, AnyMessage] = {}
        self._recent: deque[Broadcast] = deque(maxlen=max_recent)
        self._snapshot: Snapshot | None = None
        self._unsettled = False

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.epoch, self.seq)

    @property
    def known(self) -> int:
        """The number of the newest message that is known of."""
        return self._known

    @property
    def behind(self) -> bool:
        """Whether there are messages that have not been received."""
        return self._known > self.seq

    @property
    def snapshot(self) -> Snapshot | None:
        """The market's row at the newest position at which it is known.

        None before one was adopted, while the stream has not come as far as it, and where it has gone so far
        beyond it that the messages between are not all in memory.
        """
        if self._snapshot is None or self._snapshot.position.seq > self.seq:
            return None
        return self._snapshot

    @property
    def recent(self) -> int:
        """How many messages are kept for clients that resume."""
        return len(self._recent)

    def learn(self, seq: int) -> None:
        """Note that the stream has a message with this number."""
        self._known = max(self._known, seq)

    def receive(self, messages: Iterable[AnyMessage]) -> list[Broadcast]:
        """The messages that are new and have all before them, in order."""
        ready: list[Broadcast] = []
        for message in messages:
            position = message.position
            if position is None or position.epoch != self.epoch or position.seq <= self.seq:
                continue
            self.learn(position.seq)
            if position.seq > self.seq + 1:
                if len(self._early) < self._max_early:
                    self._early[position.seq] = message
                continue
            following: AnyMessage | None = message
            while following is not None:
                self.seq += 1
                self._settle(following)
                ready.append(Broadcast(following))
                following = self._early.pop(self.seq + 1, None)
        self._recent.extend(ready)
        if self._snapshot is not None and self.seq - self._snapshot.position.seq > len(self._recent):
            self._snapshot, self._unsettled = None, False
        return ready

    def has_since(self, seq: int) -> bool:
        """Whether all messages after the one with this number are in memory."""
        return 0 <= self.seq - seq <= len(self._recent)

    def since(self, seq: int) -> Sequence[Broadcast] | None:
        """All messages after the one with this number; None if they are not all in memory."""
        if not self.has_since(seq):
            return None
        missed = self.seq - seq
        return tuple(self._recent)[-missed:] if missed else ()

    def remember(self, messages: Sequence[AnyMessage]) -> None:
        """Keep older messages, in order, for clients that resume from before those in memory."""
        oldest = self.seq - len(self._recent) + 1
        older = [Broadcast(one) for one in messages if one.seq < oldest]
        if older and older[-1].seq == oldest - 1:
            room = self._max_recent - len(self._recent)
            self._recent.extendleft(reversed(older[-room:] if room else []))

    def forget(self) -> int:
        """Drop what is kept for clients that resume, but for what the snapshot lacks.

        Returns how many messages that were.
        """
        unsettled = 0 if self.snapshot is None else self.seq - self.snapshot.position.seq
        dropped = max(0, len(self._recent) - unsettled)
        for _ in range(dropped):
            self._recent.popleft()
        return dropped

    def adopt(self, snapshot: Snapshot) -> bool:
        """Take the market's row as it was read. False if it is older than what is in memory: read it again.

        Where it is ahead of the stream, it counts once the stream has come as far.
        """
        if snapshot.position.epoch != self.epoch:
            return False
        if self._snapshot is not None and snapshot.position.seq <= self._snapshot.position.seq:
            return True
        later = self.since(snapshot.position.seq) if snapshot.position.seq < self.seq else ()
        if later is None:
            return False
        self.learn(snapshot.position.seq)
        self._snapshot, self._unsettled = snapshot, False
        for broadcast in later:
            self._settle(broadcast.message)
        return True

    def _settle(self, message: AnyMessage) -> None:
        """Bring the snapshot up to `message`, or leave it where the message is one of several of a change."""
        snapshot, position = self._snapshot, message.position
        if snapshot is None or position is None or position.seq <= snapshot.position.seq:
            return
        if not isinstance(message, Message):
            return
        data = message.data
        match data:
            case MarketUpdate():
                self._unsettled = False
                self._snapshot = Snapshot(
                    message.market_id,
                    position,
                    msgspec.structs.replace(data, action="updated", old_state=None),
                    message.occurred_at,
                    message.commitment or snapshot.commitment,
                )
            case PriceUpdate() | TradeExecuted() | Retraction(kind="trade"):
                self._unsettled = True
            case _ if not self._unsettled:
                final = isinstance(data, Promotion) and data.market
                self._snapshot = msgspec.structs.replace(
                    snapshot, position=position, commitment="finalized" if final else snapshot.commitment
                )
