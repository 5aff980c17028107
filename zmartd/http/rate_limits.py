"""How many requests somebody may send in a minute and in an hour, on all daemons together.

Redis counts. A daemon takes a lease of requests from it, a tenth of the minute's limit or a hundredth of the
hour's, so that most requests need no round trip, and when it asks for the next one it says what was left of
the last. So nobody is ever let through more often than the limit says, and nobody is refused earlier than the
limit less one lease for each other daemon that the same caller talks to, or that died with one.

A window begins with a caller's first request and lasts its full length by Redis' clock. While Redis is away
each daemon counts by itself, a minute at a time: then the limit holds for each of them.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable
from typing import cast

from msgspec import Struct
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.log import get_logger

MINUTE_SECONDS, HOUR_SECONDS = 60, 3_600
LEASES_PER_MINUTE, LEASES_PER_HOUR = 10, 100
MAX_CALLERS = 50_000
"""So many leases are remembered; one that is forgotten is paid for, and taken anew."""
PATIENCE_SECONDS = 0.5
AWAY_SECONDS = 2.0
"""How long Redis is left alone after it did not answer."""

# KEYS are a caller's counts in this minute and this hour. ARGV: how much is asked for, and for each of the
# two windows its limit, its length in milliseconds, and what was left of the last lease and is given back to
# it. Gives what is granted, and for each window what is left of it and for how many milliseconds it lasts.
_LEASE = """
local limits, used, granted = {}, {}, tonumber(ARGV[1])
for i = 1, 2 do
    limits[i] = tonumber(ARGV[3 * i - 1])
    local count = tonumber(redis.call('GET', KEYS[i]) or 0)
    used[i] = math.max(0, count - tonumber(ARGV[3 * i + 1]))
    granted = math.min(granted, limits[i] - used[i])
end
granted = math.max(0, granted)
local answer = {granted}
for i = 1, 2 do
    local lasts = redis.call('PTTL', KEYS[i])
    if lasts <= 0 then lasts = tonumber(ARGV[3 * i]) end
    redis.call('SET', KEYS[i], used[i] + granted, 'PX', lasts)
    answer[2 * i] = math.max(0, limits[i] - used[i] - granted)
    answer[2 * i + 1] = lasts
end
return answer
"""

_requests = Counter("zmartd_rate_limited_requests", "Requests by what their rate limit said", ["outcome"])
_ADMITTED, _REFUSED = (_requests.labels(outcome) for outcome in ("admitted", "refused"))

log = get_logger(__name__)


class Rates(Struct, frozen=True):
    """What a caller may do."""

    per_minute: int
    per_hour: int


class Standing(Struct, frozen=True):
    """Where a caller stands after a request: in the window that has least left."""

    admitted: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until this window is over: when refused, until the next request may be let through."""


class _Window(Struct, frozen=True):
    """A minute or an hour: what is left of it beyond the lease, until a time by the monotonic clock."""

    limit: int
    left: int
    ends: float


class _Lease:
    """So many requests may be let through until it ends; then, or when they are used up, the next is due."""

    __slots__ = ("asking", "ends", "left", "windows")

    def __init__(self) -> None:
        self.left = 0
        self.ends = 0.0
        self.windows: tuple[_Window, ...] = ()
        self.asking: asyncio.Task[None] | None = None

    def can_be_followed(self) -> bool:
        """Whether there is more to be had before the windows are over."""
        return all(window.left for window in self.windows)

    def unspent(self, now: float) -> list[int]:
        """What is left of it, for the minute and the hour, where that is still the same one."""
        if len(self.windows) < 2:
            return [0, 0]
        return [self.left if now < window.ends else 0 for window in self.windows]

    def standing(self, now: float, *, admitted: bool) -> Standing:
        least = min(self.windows, key=lambda window: (window.left, -window.ends))
        seconds = max(1, math.ceil(least.ends - now))
        return Standing(admitted, least.limit, least.left + self.left, seconds)


class RateLimiter:
    """Counts requests by caller. Bounded in memory, and never in the way of a request when Redis is."""

    def __init__(self, redis: Redis, clock: Clock, max_callers: int = MAX_CALLERS) -> None:
        self._redis = redis
        self._clock = clock
        self._max_callers = max_callers
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._away_until = 0.0

    async def count(self, caller: str, rates: Rates) -> Standing:
        """Count one request of `caller`, an address or a wallet. Never raises."""
        lease = self._lease_of(caller)
        while True:
            now = self._clock.monotonic()
            if now < lease.ends:
                break
            if lease.asking is None:
                lease.asking = asyncio.create_task(self._renew(caller, lease, rates), name="rate limit")
            await asyncio.shield(lease.asking)
        if lease.left == 0:
            _REFUSED.inc()
            return lease.standing(now, admitted=False)
        _ADMITTED.inc()
        lease.left -= 1
        if lease.left == 0 and lease.can_be_followed():
            lease.ends = now
        return lease.standing(now, admitted=True)

    def _lease_of(self, caller: str) -> _Lease:
        lease = self._leases.get(caller)
        if lease is None:
            lease = self._leases[caller] = _Lease()
            if len(self._leases) > self._max_callers:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(caller)
        return lease

    async def _renew(self, caller: str, lease: _Lease, rates: Rates) -> None:
        try:
            if self._clock.monotonic() < self._away_until:
                self._alone(lease, rates)
                return
            await self._ask(caller, lease, rates)
        except (RedisError, OSError) as error:
            log.warning("rate_limit.alone", reason=type(error).__name__)
            self._away_until = self._clock.monotonic() + AWAY_SECONDS
            self._alone(lease, rates)
        finally:
            lease.asking = None

    async def _ask(self, caller: str, lease: _Lease, rates: Rates) -> None:
        # Taken before the question, so that a window is never believed to last longer than it does.
        now = self._clock.monotonic()
        of_minute, of_hour = lease.unspent(now)
        arguments = (
            f"rate:minute:{{{caller}}}",
            f"rate:hour:{{{caller}}}",
            max(1, min(rates.per_minute // LEASES_PER_MINUTE, rates.per_hour // LEASES_PER_HOUR)),
            *(rates.per_minute, MINUTE_SECONDS * 1_000, of_minute),
            *(rates.per_hour, HOUR_SECONDS * 1_000, of_hour),
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await cast("Awaitable[list[int]]", self._redis.eval(_LEASE, 2, *arguments))
        granted, minute_left, minute_ms, hour_left, hour_ms = answer
        lease.windows = (
            _Window(rates.per_minute, minute_left, now + minute_ms / 1_000),
            _Window(rates.per_hour, hour_left, now + hour_ms / 1_000),
        )
        lease.left = granted
        used_up = [window.ends for window in lease.windows if granted == 0 and window.left == 0]
        lease.ends = max(used_up) if used_up else min(window.ends for window in lease.windows)

    def _alone(self, lease: _Lease, rates: Rates) -> None:
        """A minute's worth on this daemon's own account."""
        ends = self._clock.monotonic() + MINUTE_SECONDS
        lease.left = min(rates.per_minute, rates.per_hour)
        lease.windows = (_Window(rates.per_minute, 0, ends),)
        lease.ends = ends
