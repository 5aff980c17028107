"""How many WebSocket connections each client has, counted over all daemons.

Every daemon keeps in Redis, in one hash, how many connections it has of each client. A daemon that is killed
stops renewing it, and its places come free within LEASE_SECONDS. A new connection takes a round trip, which
those that come soon after another share. What is closed is told in batches. While Redis is away each daemon
counts its own connections alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.cancellation import is_being_cancelled
from zmartd.clock import Clock
from zmartd.http.errors.websocket import ConnectionLimit, TooManyConnections
from zmartd.http.kit.client_address import SITE_CLIENTS, site_of
from zmartd.log import get_logger
from zmartd.realtime.batched_reads import BatchedReads

LEASE_SECONDS: Final = 10.0
RENEWAL_SECONDS: Final = 3.0
PAUSE_SECONDS: Final = 0.01
"""How long after an answer new connections are gathered before Redis is asked again."""
GATHER_SECONDS: Final = 0.05
"""How long what is closed is gathered before Redis is told."""
REDIS_TIMEOUT_SECONDS: Final = 0.5
REDIS_RETRY_SECONDS: Final = 2.0
"""How long Redis is not asked about new connections after it did not answer."""
MAX_TOLD: Final = 1_000
"""Clients, or new connections, in one command."""

_Counts = tuple[tuple[str, int, int], ...]
"""Of a new connection: its owners, each with its limit and how many this daemon has with the new one."""

_DAEMONS = "{ws}:daemons"
# KEYS: the daemons with the ends of their leases, and the hash of this one. ARGV: its name, its lease in
# milliseconds, and for each connection how many owners it has, and for each of these its name, its limit, and
# how many connections this daemon has of it with the new one. Returns for each connection the place among its
# owners of the first without room, from 1 on; 0 if there is room for all.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local daemons = redis.call('ZRANGE', KEYS[1], 0, -1)
local function has_room(owner, limit, open)
    for _, daemon in ipairs(daemons) do
        if daemon ~= ARGV[1] then
            open = open + tonumber(redis.call('HGET', '{ws}:places:' .. daemon, owner) or 0)
        end
    end
    return open <= limit
end
local refused, i = {}, 3
while i <= #ARGV do
    local owners, without_room = tonumber(ARGV[i]), 0
    for place = owners, 1, -1 do
        local at = i + 3 * place - 2
        local limit, open = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
        if not has_room(ARGV[at], limit, open) then without_room = place end
    end
    if without_room == 0 then
        for at = i + 1, i + 3 * owners, 3 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2]) end
    end
    refused[#refused + 1] = without_room
    i = i + 1 + 3 * owners
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return refused
"""
# KEYS and the first two of ARGV as above; then owners, each with how many connections this daemon has of it.
# Returns whether Redis had a lease of this daemon.
_TELL = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
for i = 3, #ARGV, 2 do
    if ARGV[i + 1] == '0' then redis.call('HDEL', KEYS[2], ARGV[i])
    else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if known and tonumber(known) > now then return 1 end
return 0
"""

log = get_logger(__name__)


class Places:
    """The connections of clients, and of IPv6 sites, to all daemons. `run` has to be running."""

    def __init__(self, redis: Redis, clock: Clock, daemon: str, limit: int) -> None:
        """`daemon`: a name that no other has. `limit`: the connections of one client."""
        self._redis = redis
        self._clock = clock
        self._daemon = daemon
        self._limit = limit
        self._keys = (_DAEMONS, f"{{ws}}:places:{daemon}")
        self._open: Counter[str] = Counter()
        self._untold: set[str] = set()
        """Of whom this daemon has another number of connections than Redis knows."""
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._answers = BatchedReads(self._ask, MAX_TOLD, pause_seconds=PAUSE_SECONDS)

    @property
    def owners(self) -> int:
        """How many clients and sites have connections to this daemon."""
        return len(self._open)

    async def take(self, client: str) -> None:
        """Count a connection until `give_back`. Raises TooManyConnections."""
        limits = self._limits(client)
        for owner, limit in limits.items():
            if self._open[owner] >= limit:
                raise TooManyConnections(ConnectionLimit(limit))
        self._open.update(limits.keys())
        try:
            refused = await self._without_room(limits)
        except BaseException:
            self.give_back(client)
            raise
        if refused is not None:
            self.give_back(client)
            raise TooManyConnections(ConnectionLimit(limits[refused]))

    def go_on(self, client: str) -> None:
        """Count a connection that was counted in another process, until `give_back`."""
        owners = self._limits(client)
        self._open.update(owners.keys())
        self._untold.update(owners)
        self._wake.set()

    def give_back(self, client: str) -> None:
        """Count a connection no more."""
        owners = self._limits(client)
        self._open.subtract(owners.keys())
        for owner in owners:
            if not self._open[owner]:
                del self._open[owner]
        self._untold.update(owners)
        self._wake.set()

    async def run(self) -> None:
        """Renew the lease and tell Redis what has changed, until cancelled."""
        while not is_being_cancelled():
            if not await self._tell():
                await self._clock.sleep(REDIS_RETRY_SECONDS)
                continue
            try:
                async with asyncio.timeout(RENEWAL_SECONDS):
                    await self._wake.wait()
                await self._clock.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass

    async def leave(self) -> None:
        """Give all places back at once: this daemon ends."""

        async def remove() -> None:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrem(_DAEMONS, self._daemon)
                pipeline.delete(self._keys[1])
                await pipeline.execute()

        await self._answered(remove)

    def _limits(self, client: str) -> dict[str, int]:
        """By client and by site: how many connections it may have."""
        limits = {client: self._limit}
        limits.setdefault(site_of(client), self._limit * SITE_CLIENTS)
        return limits

    async def _without_room(self, limits: dict[str, int]) -> str | None:
        """Who has too many connections with the new one; None if nobody has, as far as is known."""
        counts = tuple((owner, limit, self._open[owner]) for owner, limit in limits.items())
        refused = await self._answers.get(counts)
        return counts[refused - 1][0] if refused else None

    async def _ask(self, connections: Sequence[_Counts]) -> Mapping[_Counts, int]:
        """For each of several connections the place among its owners of the first without room, or 0."""
        refused = None
        if self._clock.monotonic() >= self._retry_at:
            refused = await self._asked(connections)
        for owner, _, told in chain.from_iterable(connections):
            if refused is None or self._open[owner] < told:  # or one was given back meanwhile
                self._untold.add(owner)
                self._wake.set()
        return dict(zip(connections, refused or [0] * len(connections), strict=True))

    async def _asked(self, connections: Sequence[_Counts]) -> list[int] | None:
        arguments: list[str | int] = []
        for counts in connections:
            arguments.append(len(counts))
            arguments += chain.from_iterable(counts)
        refused: list[int] | None = await self._answered(lambda: self._eval(_TAKE, arguments))
        if refused is None:
            self._retry_at = self._clock.monotonic() + REDIS_RETRY_SECONDS
        return refused

    async def _tell(self) -> bool:
        """Renew the lease and tell Redis what it does not know: everything if it forgot this daemon."""
        self._wake.clear()
        known = await self._tell_about(())
        if known is None:
            return False
        if not known:
            self._untold.update(self._open)
        while self._untold:
            some = [self._untold.pop() for _ in range(min(MAX_TOLD, len(self._untold)))]
            if await self._tell_about(some) is None:
                self._untold.update(some)
                return False
        self._retry_at = 0.0
        return True

    async def _tell_about(self, owners: Iterable[str]) -> int | None:
        """Whether Redis knew this daemon; None if it does not answer."""
        counts = [one for owner in owners for one in (owner, self._open[owner])]
        return cast("int | None", await self._answered(lambda: self._eval(_TELL, counts)))

    async def _eval(self, script: str, arguments: Sequence[str | int]) -> Any:
        lease = int(LEASE_SECONDS * 1_000)
        answer = self._redis.eval(script, 2, *self._keys, self._daemon, lease, *cast("Any", arguments))
        return await answer

    async def _answered(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                return await ask()
        except (RedisError, OSError) as error:
            log.warning("websocket.counts_alone", reason=str(error) or type(error).__name__)
            return None
