"""The vote cache: how many votes markets have, in Redis, and as Postgres has them.

Every change of a market's votes appends a message to its stream in the same transaction. So counts that were
read together with a position of the stream are those of that position for ever, and a reader who knows the
market's present position knows whether an entry is right. Nothing is ever added to an entry: it is what one
statement read, and never written over a later one of the same epoch. What Redis has lost, or never got, is
counted again; without Redis everything is, by one statement at a time for all readers of a daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.realtime.batched_reads import BatchedReads
from zmartd.store import votes
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition
from zmartd.store.votes import LiveCounts

KEEP_SECONDS: Final = 600
"""How long an entry stays that nobody replaces."""
REDIS_SECONDS: Final = 0.25
"""How long a reader waits for Redis. Then it counts in Postgres, and Redis is not asked for PAUSE_SECONDS."""
PAUSE_SECONDS: Final = 1.0
MAX_COUNTED_AT_ONCE: Final = 500
"""The most markets whose votes are counted by one statement."""

_PREFIX: Final = "votes:"
_WRITE: Final = """
for i, key in ipairs(KEYS) do
    local new = ARGV[2 * i]
    local found = redis.pcall('GET', key)
    local read, old = pcall(cjson.decode, type(found) == 'string' and found or '')
    local is_newer = read and type(old) == 'table' and old.epoch == cjson.decode(new).epoch
        and type(old.seq) == 'number' and old.seq > cjson.decode(new).seq
    if not is_newer then redis.call('SET', key, new, 'EX', ARGV[2 * i - 1]) end
end
"""
_reads = Counter(
    "zmartd_vote_cache_reads", "Votes of markets that were read, by where their counts came from.", ["source"]
)

log = get_logger(__name__)


class Entry(Struct, frozen=True):
    """The counts of a market at a position of its stream."""

    market_id: str
    epoch: str
    seq: int
    counts: LiveCounts

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.epoch, self.seq)


class LiveVotes:
    """Reads counts of votes. `redis` must return bytes."""

    def __init__(self, redis: Redis, database: Database, clock: Clock) -> None:
        self._redis = redis
        self._write = redis.register_script(_WRITE)
        self._database = database
        self._clock = clock
        self._decoder = msgspec.json.Decoder(Entry)
        self._paused_until = 0.0
        # Nobody gets what was counted for somebody who asked earlier: it may be of an earlier position.
        self._counts = BatchedReads(self._count, MAX_COUNTED_AT_ONCE)

    async def at(self, positions: Mapping[str, StreamPosition]) -> dict[str, Entry]:
        """The counts of these markets, each at the position that its stream has, or at a later one.

        `positions` are by market, as the caller has just read them. One round trip to Redis for all of them,
        and where that does not know them all, one to Postgres, which readers share who ask meanwhile. Raises
        DatabaseUnavailable and the like.
        """
        known = await self._cached(positions)
        lacking = [market_id for market_id in positions if market_id not in known]
        _reads.labels("redis").inc(len(known))
        counted = await asyncio.gather(*map(self._counts.get, lacking))
        return known | {entry.market_id: entry for entry in counted if entry is not None}

    async def _count(self, market_ids: Sequence[str]) -> dict[str, Entry]:
        """The counts by Postgres, which are also put into Redis."""
        _reads.labels("postgres").inc(len(market_ids))
        async with self._database.service_reader() as connection:
            read = await votes.live(connection, market_ids)
        entries = {
            market_id: Entry(market_id, position.epoch, position.seq, counts)
            for market_id, (position, counts) in read.items()
        }
        await self._store(entries)
        return entries

    async def _cached(self, positions: Mapping[str, StreamPosition]) -> dict[str, Entry]:
        """What Redis has at just these positions."""
        if not positions or self._is_paused:
            return {}
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                values = await self._redis.mget([_key(market_id) for market_id in positions])
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error)
            return {}
        found = {}
        for (market_id, position), value in zip(positions.items(), values, strict=True):
            entry = self._entry(value)
            if entry is not None and (entry.market_id, entry.position) == (market_id, position):
                found[market_id] = entry
        return found

    def _entry(self, value: bytes | str | None) -> Entry | None:
        try:
            return None if value is None else self._decoder.decode(value)
        except msgspec.DecodeError:
            return None  # Whatever somebody else has written there: it is written over.

    async def _store(self, entries: Mapping[str, Entry]) -> None:
        if self._is_paused:
            return
        arguments: list[Any] = []
        for entry in entries.values():
            arguments += KEEP_SECONDS, msgspec.json.encode(entry)
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._write(keys=[_key(market_id) for market_id in entries], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error)

    @property
    def _is_paused(self) -> bool:
        return self._clock.monotonic() < self._paused_until

    def _pause(self, error: Exception) -> None:
        self._paused_until = self._clock.monotonic() + PAUSE_SECONDS
        log.warning("votes.uncached", reason=str(error) or type(error).__name__)


def _key(market_id: str) -> str:
    return f"{_PREFIX}{market_id}"
