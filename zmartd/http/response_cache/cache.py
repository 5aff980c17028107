"""Encoded answers in memory: read once by many, dropped by the news that makes them untrue."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.http.kit.etags import TaggedAnswer
from zmartd.metrics import Counter
from zmartd.realtime.messages import Gap, Message

MAX_AGE_SECONDS = 2.0
"""After this an answer is read anew whether or not anything was heard."""
MAX_BYTES = 32 * 2**20
EVERY_MARKET = "*"

_OVERHEAD_BYTES = 1_024
_answers = Counter("zmartd_hot_answers", "Answers that may be served from memory, by where from", ["source"])
_FROM_MEMORY, _READ, _SHARED = (_answers.labels(source) for source in ("memory", "database", "flight"))


class Key(Struct, frozen=True):
    """Which answer. It is dropped by news of `market`: an id, or EVERY_MARKET for those of any."""

    market: str
    question: str


Read = Callable[[], Awaitable[bytes]]
"""Gives an answer's body as the database has it now; its errors reach everybody who waits for it."""


@dataclass(slots=True)
class _Flight:
    """A reading under way. `outdated`: news came since, so that what it brings may be kept by nobody."""

    number: int
    task: asyncio.Task[TaggedAnswer]
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: TaggedAnswer
    until: float


class ResponseCache:
    """At most `max_bytes` of answers, the least recently asked for given up first.

    For each key there is at most one reading at a time. Nobody is given one that began before the last news
    that this daemon had when it asked.
    """

    def __init__(
        self, clock: Clock, max_age_seconds: float = MAX_AGE_SECONDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._flights: dict[Key, _Flight] = {}
        self._begun = 0
        self._keys: defaultdict[str, set[Key]] = defaultdict(set)
        """Those kept or being read, by what drops them."""

    def kept(self, key: Key) -> TaggedAnswer | None:
        """The answer as it was at the last news, if it is in memory."""
        kept = self._kept.get(key)
        if kept is None or self._clock.monotonic() >= kept.until:
            return None
        self._kept.move_to_end(key)
        _FROM_MEMORY.inc()
        return kept.answer

    async def get(self, key: Key, read: Read) -> TaggedAnswer:
        """The answer as it was at the last news, from memory where it is there. Raises what `read` raises."""
        kept = self.kept(key)
        if kept is not None:
            return kept
        flight = self._flights.get(key)
        if flight is not None and not flight.outdated:
            _SHARED.inc()
            return await asyncio.shield(flight.task)
        return await self.anew(key, read)

    async def anew(self, key: Key, read: Read) -> TaggedAnswer:
        """The answer as a reading finds it that begins after this call. Raises what `read` raises."""
        latest = self._begun
        while (flight := self._flights.get(key)) is not None and flight.number <= latest:
            await asyncio.wait([flight.task])
        if flight is None:
            flight = self._begin(key, read)
        else:
            _SHARED.inc()
        return await asyncio.shield(flight.task)

    def heard(self, news: Message | Gap) -> None:
        """Drop what is no longer true: after a gap everything."""
        if isinstance(news, Gap):
            for market in list(self._keys):
                self._drop(market)
            return
        self._drop(news.market_id)
        self._drop(EVERY_MARKET)

    def _drop(self, market: str) -> None:
        keys = self._keys.get(market)
        if not keys:
            return
        for key in list(keys):
            self._forget(key)
            flight = self._flights.get(key)
            if flight is not None:
                flight.outdated = True

    def _begin(self, key: Key, read: Read) -> _Flight:
        _READ.inc()
        self._begun += 1
        self._keys[key.market].add(key)
        task = asyncio.create_task(self._fly(key, read), name="hot read")
        # Whoever waited may be gone: an error is theirs, and nobody else has to look at it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        flight = self._flights[key] = _Flight(self._begun, task)
        return flight

    async def _fly(self, key: Key, read: Read) -> TaggedAnswer:
        until = self._clock.monotonic() + self._max_age_seconds
        try:
            found = TaggedAnswer.of(await read())
        finally:
            outdated = self._flights.pop(key).outdated
            self._forget(key)
        if not outdated:
            self._keep(key, _Kept(found, until))
        return found

    def _keep(self, key: Key, kept: _Kept) -> None:
        self._kept[key] = kept
        self._keys[key.market].add(key)
        self._bytes += _size(kept)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(kept)
        if key in self._flights:
            return
        keys = self._keys[key.market]
        keys.discard(key)
        if not keys:
            del self._keys[key.market]


RESPONSE_CACHE: Final[web.AppKey[ResponseCache]] = web.AppKey("response_cache")


def _size(kept: _Kept) -> int:
    return len(kept.answer.body) + _OVERHEAD_BYTES
