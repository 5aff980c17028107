"""A cache of response bodies with single-flight loading, invalidated by messages about markets."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.operation import LoadBody
from zmartd.metrics import Counter
from zmartd.realtime.messages import Gap, Message

MAX_AGE_SECONDS = 2.0
"""An older response is loaded again even if nothing has invalidated it."""
RENEWAL_SECONDS = 0.5
"""A response that is asked for so short before its end is loaded anew meanwhile, so that nobody waits."""
MAX_BYTES = 32 * 2**20
EVERY_MARKET = "*"
NO_MARKET = ""

_OVERHEAD_BYTES = 1_024
_answers = Counter("zmartd_hot_answers", "Answers that may be served from memory, by where from.", ["source"])
_HITS, _LOADS, _SHARED_LOADS = (_answers.labels(source) for source in ("memory", "database", "flight"))


class CacheKey(Struct, frozen=True):
    """A message about `market` invalidates the response: an id, EVERY_MARKET for
    messages about any, or NO_MARKET for none.
    """

    market: str
    request: str


@dataclass(slots=True)
class _Load:
    """A load in progress. `stale`: it was invalidated after it began, so its result is not stored."""

    number: int
    task: asyncio.Task[TaggedResponse]
    stale: bool = False


@dataclass(slots=True)
class _Entry:
    """`is_renewed`: whether it was loaded anew already, or that was tried."""

    response: TaggedResponse
    expires_at: float
    is_renewed: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    error: ZmartdError
    expires_at: float


class ResponseCache:
    """Holds at most `max_bytes` of responses; the least recently used are dropped first.

    At most one load for each key is in progress. No caller gets the result of a load that began before the
    last invalidation that preceded its call.
    """

    def __init__(
        self, clock: Clock, max_age_seconds: float = MAX_AGE_SECONDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._loads: dict[CacheKey, _Load] = {}
        self._loads_begun = 0
        self._failures: dict[CacheKey, _Failure] = {}
        self._keys: defaultdict[str, set[CacheKey]] = defaultdict(set)
        """The keys of entries and loads, by market."""

    @property
    def is_loading(self) -> bool:
        """Whether a load is in progress."""
        return bool(self._loads)

    def peek(self, key: CacheKey, load: LoadBody | None = None) -> TaggedResponse | None:
        """The cached response, if it is valid. Shortly before its end a load begins, where there is one."""
        entry, now = self._entries.get(key), self._clock.monotonic()
        if entry is None or now >= entry.expires_at:
            return None
        if load is not None and not entry.is_renewed and now >= entry.expires_at - RENEWAL_SECONDS:
            entry.is_renewed = True
            if key not in self._loads:
                self._begin_load(key, load)
        self._entries.move_to_end(key)
        _HITS.inc()
        return entry.response

    async def get(self, key: CacheKey, load: LoadBody) -> TaggedResponse:
        """The cached response, or that of a load. Raises what `load` raises."""
        cached = self.peek(key)
        if cached is not None:
            return cached
        current = self._loads.get(key)
        if current is not None and not current.stale:
            _SHARED_LOADS.inc()
            return await asyncio.shield(current.task)
        return await self.refresh(key, load)

    async def get_paced(self, key: CacheKey, load: LoadBody) -> TaggedResponse:
        """As `get`, but after a load that failed none begins for `max_age_seconds`: that error is raised.

        For few keys: their errors are kept until a load succeeds.
        """
        failure = self._failures.get(key)
        if failure is not None and self._clock.monotonic() < failure.expires_at:
            raise failure.error.with_traceback(None)
        try:
            response = await self.get(key, load)
        except ZmartdError as error:
            self._failures[key] = _Failure(error, self._clock.monotonic() + self._max_age_seconds)
            raise
        self._failures.pop(key, None)
        return response

    async def refresh(self, key: CacheKey, load: LoadBody) -> TaggedResponse:
        """The response of a load that begins after this call. Raises what `load` raises."""
        latest = self._loads_begun
        while (current := self._loads.get(key)) is not None and current.number <= latest:
            await asyncio.wait([current.task])
        if current is None:
            current = self._begin_load(key, load)
        else:
            _SHARED_LOADS.inc()
        return await asyncio.shield(current.task)

    def invalidate(self, message: Message | Gap) -> None:
        """Drop the responses that a message makes stale: all of them after a gap."""
        if isinstance(message, Gap):
            for market in list(self._keys):
                self._invalidate_market(market)
            return
        self._invalidate_market(message.market_id)
        self._invalidate_market(EVERY_MARKET)

    def _invalidate_market(self, market: str) -> None:
        keys = self._keys.get(market)
        if not keys:
            return
        for key in list(keys):
            self._remove(key)
            current = self._loads.get(key)
            if current is not None:
                current.stale = True

    def _begin_load(self, key: CacheKey, load: LoadBody) -> _Load:
        _LOADS.inc()
        self._loads_begun += 1
        self._keys[key.market].add(key)
        task = asyncio.create_task(self._run_load(key, load), name="response cache load")
        # If nobody waits any more, asyncio must not report an error as never retrieved.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        current = self._loads[key] = _Load(self._loads_begun, task)
        return current

    async def _run_load(self, key: CacheKey, load: LoadBody) -> TaggedResponse:
        expires_at = self._clock.monotonic() + self._max_age_seconds
        try:
            loaded = await load()
            response = TaggedResponse.of(loaded.content, more_headers=loaded.headers)
        except BaseException:
            del self._loads[key]
            self._forget_unused(key)
            raise
        stale = self._loads.pop(key).stale
        self._remove(key)
        if not stale:
            self._store(key, _Entry(response, expires_at))
        return response

    def _store(self, key: CacheKey, entry: _Entry) -> None:
        self._entries[key] = entry
        self._keys[key.market].add(key)
        self._bytes += _size(entry)
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(entry)
        self._forget_unused(key)

    def _forget_unused(self, key: CacheKey) -> None:
        """No message has to find a key that has neither an entry nor a load."""
        if key in self._loads or key in self._entries:
            return
        keys = self._keys[key.market]
        keys.discard(key)
        if not keys:
            del self._keys[key.market]


RESPONSE_CACHE: Final[web.AppKey[ResponseCache]] = web.AppKey("response_cache")


def _size(entry: _Entry) -> int:
    return len(entry.response.body) + _OVERHEAD_BYTES
