"""Rate limits by minute and by hour, for all daemons together.

Redis counts. A daemon leases requests from it, a tenth of the limit of a minute or a hundredth of that of an
hour, so that most requests need no round trip. With the next lease it returns what it has not used of the
last one. So no client is ever allowed more than its limit; it is refused early by at most one lease for each
other daemon that it talks to, or that died with a lease.

A request may count in several buckets, each with a lease of its own. It is allowed when all of them have
room, and then counts in all; a refused one counts in none.

A window begins with the first request in it and lasts its full length by Redis' clock. While Redis is
unreachable each daemon counts by itself, one minute at a time, from what it knows of the hour: the limits
then hold for each daemon. Redis never learns of the requests allowed meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import cast

from msgspec import Struct
from multidict import CIMultiDict, istr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.metrics import Counter

MINUTE_SECONDS, HOUR_SECONDS = 60, 3_600
LEASES_PER_MINUTE, LEASES_PER_HOUR = 10, 100
MAX_LEASES = 50_000
"""A lease that is dropped counts as used; the bucket's next request takes another."""
REDIS_TIMEOUT_SECONDS = 0.5
REDIS_RETRY_SECONDS = 2.0
"""How long Redis is not asked again after it did not answer."""
_EXPIRED = 0.0
"""Before any monotonic time, also the start of a request that had to wait."""

# KEYS: the bucket's counts of this minute and this hour. ARGV: how many requests to lease, and for each of
# the two windows its limit, its length in milliseconds, and the unused requests of the last lease to return.
# Returns how many are leased, and for each window what is left of it and its remaining milliseconds.
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
_ADMITTED, _REFUSED = _requests.labels("admitted"), _requests.labels("refused")

# The names of the IETF draft (draft-ietf-httpapi-ratelimit-headers-06), and the earlier ones.
_LIMIT, _X_LIMIT = istr("RateLimit-Limit"), istr("X-RateLimit-Limit")
_REMAINING, _X_REMAINING = istr("RateLimit-Remaining"), istr("X-RateLimit-Remaining")
_RESET, _X_RESET = istr("RateLimit-Reset"), istr("X-RateLimit-Reset")
_POLICY = istr("RateLimit-Policy")

log = get_logger(__name__)


class WindowLimits(Struct, frozen=True):
    """The requests that a bucket allows in each of its windows."""

    per_minute: int
    per_hour: int

    @property
    def policy(self) -> str:
        """As the header RateLimit-Policy writes it."""
        return f"{self.per_minute};w={MINUTE_SECONDS}, {self.per_hour};w={HOUR_SECONDS}"


Bucket = tuple[str, WindowLimits]
"""The key that requests are counted under, and how many there may be."""


class RateLimitResult(Struct, frozen=True, gc=False):
    """Whether a request is allowed, and the state of the window with the fewest requests left."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until this window ends. For a refused request: until the next one may be allowed."""
    policy: str
    """The limits of all windows of all buckets, as RateLimit-Policy writes them."""


def add_rate_limit_headers(headers: CIMultiDict[str], result: RateLimitResult) -> None:
    """Add the RateLimit headers to those of a response."""
    headers[_LIMIT] = headers[_X_LIMIT] = str(result.limit)
    headers[_REMAINING] = headers[_X_REMAINING] = str(result.remaining)
    headers[_RESET] = headers[_X_RESET] = str(result.reset_seconds)
    headers[_POLICY] = result.policy


class _Window(Struct, frozen=True):
    """A minute or an hour: the requests left in it besides the lease, and its end by the monotonic clock."""

    limit: int
    left: int
    ends: float


class _Lease:
    """The requests of one bucket that this daemon may allow by itself.

    When they are used up, or at `ends`, the lease is renewed. `from_redis`: unused requests go back to Redis.
    """

    __slots__ = ("ends", "from_redis", "hour", "left", "limits", "minute", "policy", "renewal", "tightest")

    def __init__(self, limits: WindowLimits) -> None:
        self.limits = limits
        self.policy = limits.policy
        self.minute = self.hour = self.tightest = _Window(0, 0, 0.0)
        self.left = 0
        self.ends = _EXPIRED
        self.from_redis = False
        self.renewal: asyncio.Task[None] | None = None

    def grant(self, left: int, minute: _Window, hour: _Window, *, from_redis: bool) -> None:
        """Start over with `left` requests, already taken from the two windows."""
        self.left, self.minute, self.hour, self.from_redis = left, minute, hour, from_redis
        self.tightest = min(minute, hour, key=lambda window: (window.left, -window.ends))
        exhausted = [window.ends for window in (minute, hour) if left == 0 and window.left == 0]
        self.ends = max(exhausted) if exhausted else min(minute.ends, hour.ends)

    @property
    def remaining(self) -> int:
        """The requests left in the tightest window. While it is 0, requests are refused."""
        return self.tightest.left + self.left

    def is_tighter_than(self, other: _Lease) -> bool:
        """Whether it has fewer requests left, or as many for longer."""
        mine, others = self.remaining, other.remaining
        return mine < others or (mine == others and self.tightest.ends > other.tightest.ends)

    def take(self) -> None:
        """Use one request. `remaining` must not be 0."""
        self.left -= 1
        if self.left == 0 and self.tightest.left:
            self.ends = _EXPIRED  # the windows have more

    def unused(self, now: float) -> list[int]:
        """The requests to return to the minute and to the hour: 0 for a window that has ended."""
        if not self.from_redis:
            return [0, 0]
        return [self.left if now < window.ends else 0 for window in (self.minute, self.hour)]


class RateLimiter:
    """Counts requests by bucket, in bounded memory. Without Redis it goes on counting by itself."""

    def __init__(self, redis: Redis, clock: Clock, max_leases: int = MAX_LEASES) -> None:
        self.redis = redis
        self._clock = clock
        self._max_leases = max_leases
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._redis_retry_at = 0.0

    def count_leased(self, buckets: Sequence[Bucket], now: float) -> RateLimitResult | None:
        """Count one request in `buckets` if all of them have valid leases; otherwise None, and no count.

        `now`: by the monotonic clock.
        """
        leases = []
        for key, _ in buckets:
            lease = self._leases.get(key)
            if lease is None or now >= lease.ends:
                return None
            leases.append(lease)
        return _count(leases, now)

    async def count(self, buckets: Sequence[Bucket]) -> RateLimitResult:
        """Count one request in `buckets`, at least one, and renew leases as needed. Never raises."""
        leases = [(key, self._lease_of(key, limits)) for key, limits in buckets]
        while expired := [pair for pair in leases if self._clock.monotonic() >= pair[1].ends]:
            for renewal in [self._renewal_of(key, lease) for key, lease in expired]:
                await asyncio.shield(renewal)
        return _count([lease for _, lease in leases], self._clock.monotonic())

    def is_exhausted(self, key: str) -> bool:
        """Whether this daemon knows, without asking Redis, that the bucket's next request is refused."""
        lease = self._leases.get(key)
        return lease is not None and self._clock.monotonic() < lease.ends and lease.remaining == 0

    def _renewal_of(self, key: str, lease: _Lease) -> asyncio.Task[None]:
        """The task that renews a lease: one for all requests that wait for it."""
        if lease.renewal is None:
            lease.renewal = asyncio.create_task(self._renew(key, lease), name="rate limit")
        return lease.renewal

    def _lease_of(self, key: str, limits: WindowLimits) -> _Lease:
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease(limits)
            if len(self._leases) > self._max_leases:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(key)
        return lease

    async def _renew(self, key: str, lease: _Lease) -> None:
        try:
            if self._clock.monotonic() < self._redis_retry_at:
                self._renew_locally(lease)
                return
            await self._renew_from_redis(key, lease)
        except (RedisError, OSError) as error:
            log.warning("rate_limit.alone", reason=type(error).__name__)
            self._redis_retry_at = self._clock.monotonic() + REDIS_RETRY_SECONDS
            self._renew_locally(lease)
        finally:
            lease.renewal = None

    async def _renew_from_redis(self, key: str, lease: _Lease) -> None:
        limits = lease.limits
        # Read before the round trip, so that a window never seems to last longer than it does.
        now = self._clock.monotonic()
        minute_unused, hour_unused = lease.unused(now)
        arguments = (
            f"rate:minute:{{{key}}}",
            f"rate:hour:{{{key}}}",
            max(1, min(limits.per_minute // LEASES_PER_MINUTE, limits.per_hour // LEASES_PER_HOUR)),
            *(limits.per_minute, MINUTE_SECONDS * 1_000, minute_unused),
            *(limits.per_hour, HOUR_SECONDS * 1_000, hour_unused),
        )
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            answer = await cast("Awaitable[list[int]]", self.redis.eval(_LEASE, 2, *arguments))
        granted, minute_left, minute_ms, hour_left, hour_ms = answer
        lease.grant(
            granted,
            _Window(limits.per_minute, minute_left, now + minute_ms / 1_000),
            _Window(limits.per_hour, hour_left, now + hour_ms / 1_000),
            from_redis=True,
        )

    def _renew_locally(self, lease: _Lease) -> None:
        """Grant the limit of one minute, or what this daemon knows to be left of the hour if that is less."""
        now, limits, hour = self._clock.monotonic(), lease.limits, lease.hour
        if now < hour.ends:
            left, ends = hour.left + lease.left, hour.ends
        else:
            left, ends = limits.per_hour, now + HOUR_SECONDS
        granted = min(limits.per_minute, left)
        lease.grant(
            granted,
            _Window(limits.per_minute, 0, min(ends, now + MINUTE_SECONDS)),
            _Window(limits.per_hour, left - granted, ends),
            from_redis=False,
        )


def _count(leases: Sequence[_Lease], now: float) -> RateLimitResult:
    """Count one request on all of `leases`, which are valid, if each of them has one left."""
    first, *more = leases
    tightest, policy = first, first.policy
    for lease in more:
        policy += f", {lease.policy}"
        if lease.is_tighter_than(tightest):
            tightest = lease
    window, allowed = tightest.tightest, tightest.remaining > 0
    if allowed:
        _ADMITTED.inc()
        for lease in leases:
            lease.take()
    else:
        _REFUSED.inc()
    seconds = math.ceil(window.ends - now)
    return RateLimitResult(allowed, window.limit, tightest.remaining, seconds, policy)
