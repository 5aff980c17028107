"""Tells subscribers of markets how many votes there are: up to twice a second, and never whose.

A frame with counts is no part of the stream, and has no number. It follows the messages of the stream by
which the counts changed, whichever way these came: published, or found in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from zmartd.cancellation import is_being_cancelled
from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime import frames
from zmartd.realtime.batch import EncodedFrame
from zmartd.realtime.client import deliver_to_all
from zmartd.realtime.encodings import Audience
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.hub import Hub
from zmartd.realtime.live_votes import Entry, LiveVotes
from zmartd.realtime.messages import MarketUpdate, Message, Retraction, VoteCast, market_of, market_stream
from zmartd.store import streams
from zmartd.store.postgres.database import Database

PACE_SECONDS: Final = 0.5
"""How long changes are gathered before they are told together."""
RETRY_SECONDS: Final = 1.0
MAX_AT_ONCE: Final = 500
"""The most markets whose votes are read in one query."""

log = get_logger(__name__)


class VoteTotals:
    """Counts for the clients of a hub. `run` has to be running."""

    def __init__(self, hub: Hub, live: LiveVotes, database: Database, clock: Clock) -> None:
        self._hub = hub
        self._live = live
        self._database = database
        self._clock = clock
        self._changed: dict[str, Message] = {}
        """The markets whose votes may have changed, each with a message about that."""
        self._wake = asyncio.Event()
        hub.watch(self._told)

    async def run(self) -> None:
        """Tell counts until cancelled."""
        while not is_being_cancelled():
            await self._wake.wait()
            await self._clock.sleep(PACE_SECONDS)
            self._wake.clear()
            if not await self.tell_changed():
                await self._clock.sleep(RETRY_SECONDS)
                self._wake.set()

    async def tell_changed(self) -> bool:
        """Tell what has changed until now. Whether that could be read; otherwise it is to be told later."""
        changed, self._changed = self._changed, {}
        try:
            await self._tell(changed)
        except Exception as error:  # what has changed is told once that is over, whatever it is
            log.warning("votes.untold", markets=len(changed), reason=repr(error))
            self._changed = changed | self._changed
            return False
        return True

    def _told(self, stream: str, broadcasts: Sequence[Broadcast]) -> None:
        market_id = market_of(stream)
        if market_id is None:
            return
        for broadcast in broadcasts:
            message = broadcast.message
            if isinstance(message, Message) and _changes_votes(message):
                self._changed[market_id] = message
                self._wake.set()

    async def _tell(self, changed: dict[str, Message]) -> None:
        wanted = [market_id for market_id, message in changed.items() if self._is_wanted(message)]
        for first in range(0, len(wanted), MAX_AT_ONCE):
            market_ids = wanted[first : first + MAX_AT_ONCE]
            async with self._database.service_reader() as connection:
                found = await streams.positions(connection, [market_stream(one) for one in market_ids])
            positions = {one: found[market_stream(one)] for one in market_ids}
            for market_id, entry in (await self._live.at(positions)).items():
                now = datetime.fromtimestamp(self._clock.time(), UTC)
                told = _Counts(entry, now)
                for name, clients in self._hub.getting(_as_vote(changed[market_id])):
                    deliver_to_all(clients, [told], name)

    def _is_wanted(self, message: Message) -> bool:
        return any(True for _ in self._hub.getting(_as_vote(message)))


class _Counts:
    """A frame with the counts of a market, for clients that know it by any name."""

    __slots__ = ("_entry", "_now")

    def __init__(self, entry: Entry, now: datetime) -> None:
        self._entry = entry
        self._now = now

    def encoded(self, name: str, audience: Audience, prev_seq: int | None = None) -> EncodedFrame:
        frame = frames.vote_counts(name, self._entry.counts, self._entry.position, self._now)
        return EncodedFrame(audience.encode(frame.encode()))


def _changes_votes(message: Message) -> bool:
    """Whether there may be other counts. After a market's update: a fork may have taken its dispute."""
    match message.data:
        case VoteCast():
            return True
        case Retraction(kind=kind):
            return kind == "vote"
        case MarketUpdate(state=state):
            return any(state is kind.open_state for kind in VoteKind)
    return False


def _as_vote(message: Message) -> Message:
    """What a filter decides about: counts go to those who get votes."""
    return Message(
        message.market_id,
        VoteCast(vote_type=VoteKind.PROPOSAL),
        message.occurred_at,
        category=message.category,
    )
