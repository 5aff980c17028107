"""Rate limits by minute and by hour, for all daemons together.

Redis counts. A daemon leases requests from it, a tenth of the limit of a minute or a hundredth of that of an
hour, so that most requests need no round trip. With the next lease it returns what it has not used of the
last one. So no client is ever allowed more than its limit; it is refused early by at most one lease for each
other daemon that it talks to, or that died with a lease.

A request has a weight, because answers differ in what they cost (`zmartd.http.kit.weights`). Limits are in
requests; leases and Redis count in tenths of them.

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
from zmartd.http.kit.weights import REQUEST
from zmartd.log import get_logger
from zmartd.metrics import Counter

MINUTE_SECONDS, HOUR_SECONDS = 60, 3_600
LEASES_PER_MINUTE, LEASES_PER_HOUR = 10, 100
MAX_LEASES = 50_000
"""A lease that is dropped counts as used; the bucket's next request takes another."""
REDIS_TIMEOUT_SECONDS = 0.5
REDIS_RETRY_SECONDS = 2.0
"""How long Redis is not asked again after it did not answer."""
# KEYS: the bucket's counts of this minute and this hour. ARGV: how much to lease, and for each of the two
# windows its limit, its length in milliseconds, and what is unused of the last lease, to be returned.
# Returns how much is leased, and for each window what is left of it and its remaining milliseconds.
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

_requests = Counter("zmartd_rate_limited_requests", "Requests by what their rate limit said.", ["outcome"])
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
    of: str = "requests"
    """Which requests, for RateLimit-Policy: printable ASCII without quotation marks."""

    @property
    def policy(self) -> str:
        """As the header RateLimit-Policy writes it."""
        windows = ((self.per_minute, MINUTE_SECONDS), (self.per_hour, HOUR_SECONDS))
        return ", ".join(f'{limit};w={seconds};comment="{self.of}"' for limit, seconds in windows)


Bucket = tuple[str, WindowLimits]
"""The key that requests are counted under, and how many there may be."""


class RateLimitResult(Struct, frozen=True, gc=False):
    """Whether a request is allowed, and the state of the window with the fewest requests left."""

    allowed: bool
    limit: int
    remaining: int
    """Whole requests. Some that weigh less may be allowed when it is 0."""
    reset_seconds: int
    """Until this window ends. For a refused request: until one of its weight may be allowed."""
    policy: str
    """The limits of all windows of all buckets, as RateLimit-Policy writes them."""


def add_rate_limit_headers(headers: CIMultiDict[str], result: RateLimitResult) -> None:
    """Add the RateLimit headers to those of a response."""
    headers[_LIMIT] = headers[_X_LIMIT] = str(result.limit)
    headers[_REMAINING] = headers[_X_REMAINING] = str(result.remaining)
    headers[_RESET] = headers[_X_RESET] = str(result.reset_seconds)
    headers[_POLICY] = result.policy


class _Window(Struct, frozen=True):
    """A minute or an hour: the tenths left in it besides the lease, and its end by the monotonic clock."""

    limit: int
    """In requests."""
    left: int
    ends: float


class _Lease:
    """What this daemon may allow by itself of one bucket, in tenths of a request.

    It is renewed at `ends`, and for a request that weighs more than `left` while the windows have room for
    it. `from_redis`: what is unused goes back to Redis.
    """

    __slots__ = ("ends", "from_redis", "hour", "left", "limits", "minute", "policy", "renewal", "tightest")

    def __init__(self, limits: WindowLimits) -> None:
        self.limits = limits
        self.policy = limits.policy
        self.minute = self.hour = self.tightest = _Window(0, 0, 0.0)
        self.left = 0
        self.ends = 0.0
        self.from_redis = False
        self.renewal: asyncio.Task[None] | None = None

    def grant(self, left: int, minute: _Window, hour: _Window, *, from_redis: bool) -> None:
        """Start over with `left`, already taken from the two windows."""
        self.left, self.minute, self.hour, self.from_redis = left, minute, hour, from_redis
        self.tightest = min(minute, hour, key=lambda window: (window.left, -window.ends))
        exhausted = [window.ends for window in (minute, hour) if left == 0 and window.left == 0]
        self.ends = max(exhausted) if exhausted else min(minute.ends, hour.ends)

    @property
    def remaining(self) -> int:
        """What is left in the tightest window. A request that weighs more is refused."""
        return self.tightest.left + self.left

    def needs_renewal(self, weight: int, now: float) -> bool:
        """Whether only Redis can say whether a request of this weight is allowed."""
        return now >= self.ends or self.left < weight <= self.tightest.left + self.left

    def is_tighter_than(self, other: _Lease) -> bool:
        """Whether it has less left, or as much for longer."""
        mine, others = self.remaining, other.remaining
        return mine < others or (mine == others and self.tightest.ends > other.tightest.ends)

    def without_room(self, weight: int) -> list[_Window]:
        """The windows that do not allow a request of this weight."""
        return [window for window in (self.minute, self.hour) if window.left + self.left < weight]

    def unused(self, now: float) -> list[int]:
        """What to return to the minute and to the hour: 0 for a window that has ended."""
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

    def count_leased(
        self, buckets: Sequence[Bucket], now: float, weight: int = REQUEST
    ) -> RateLimitResult | None:
        """Count one request in `buckets` if their leases suffice to decide; otherwise None, and no count.

        `now`: by the monotonic clock.
        """
        leases = []
        for key, _ in buckets:
            lease = self._leases.get(key)
            if lease is None or lease.needs_renewal(weight, now):
                return None
            leases.append(lease)
        return _count(leases, weight, now)

    async def count(self, buckets: Sequence[Bucket], weight: int = REQUEST) -> RateLimitResult:
        """Count one request in `buckets`, at least one, and renew leases as needed. Never raises."""
        leases = [(key, self._lease_of(key, limits)) for key, limits in buckets]
        while lacking := [pair for pair in leases if pair[1].needs_renewal(weight, self._clock.monotonic())]:
            for renewal in [self._renewal_of(key, lease, weight) for key, lease in lacking]:
                await asyncio.shield(renewal)
        return _count([lease for _, lease in leases], weight, self._clock.monotonic())

    def is_exhausted(self, key: str) -> bool:
        """Whether this daemon knows, without asking Redis, that the bucket's next request is refused."""
        lease = self._leases.get(key)
        return lease is not None and self._clock.monotonic() < lease.ends and lease.remaining < REQUEST

    def _renewal_of(self, key: str, lease: _Lease, weight: int) -> asyncio.Task[None]:
        """The task that renews a lease: one for all requests that wait for it."""
        if lease.renewal is None:
            lease.renewal = asyncio.create_task(self._renew(key, lease, weight), name="rate limit")
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

    async def _renew(self, key: str, lease: _Lease, weight: int) -> None:
        try:
            if self._clock.monotonic() < self._redis_retry_at:
                self._renew_locally(lease)
                return
            await self._renew_from_redis(key, lease, weight)
        except (RedisError, OSError) as error:
            log.warning("rate_limit.alone", reason=type(error).__name__)
            self._redis_retry_at = self._clock.monotonic() + REDIS_RETRY_SECONDS
            self._renew_locally(lease)
        finally:
            lease.renewal = None

    async def _renew_from_redis(self, key: str, lease: _Lease, weight: int) -> None:
        per_minute, per_hour = _in_tenths(lease.limits)
        # Read before the round trip, so that a window never seems to last longer than it does.
        now = self._clock.monotonic()
        minute_unused, hour_unused = lease.unused(now)
        arguments = (
            f"rate:tenths:minute:{{{key}}}",
            f"rate:tenths:hour:{{{key}}}",
            max(weight, min(per_minute // LEASES_PER_MINUTE, per_hour // LEASES_PER_HOUR)),
            *(per_minute, MINUTE_SECONDS * 1_000, minute_unused),
            *(per_hour, HOUR_SECONDS * 1_000, hour_unused),
        )
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            answer = await cast("Awaitable[list[int]]", self.redis.eval(_LEASE, 2, *arguments))
        granted, minute_left, minute_ms, hour_left, hour_ms = answer
        lease.grant(
            granted,
            _Window(lease.limits.per_minute, minute_left, now + minute_ms / 1_000),
            _Window(lease.limits.per_hour, hour_left, now + hour_ms / 1_000),
            from_redis=True,
        )

    def _renew_locally(self, lease: _Lease) -> None:
        """Grant the limit of one minute, or what this daemon knows to be left of the hour if that is less."""
        now, hour = self._clock.monotonic(), lease.hour
        per_minute, per_hour = _in_tenths(lease.limits)
        if now < hour.ends:
            left, ends = hour.left + lease.left, hour.ends
        else:
            left, ends = per_hour, now + HOUR_SECONDS
        granted = min(per_minute, left)
        lease.grant(
            granted,
            _Window(lease.limits.per_minute, 0, min(ends, now + MINUTE_SECONDS)),
            _Window(lease.limits.per_hour, left - granted, ends),
            from_redis=False,
        )


def _in_tenths(limits: WindowLimits) -> tuple[int, int]:
    return limits.per_minute * REQUEST, limits.per_hour * REQUEST


def _count(leases: Sequence[_Lease], weight: int, now: float) -> RateLimitResult:
    """Count one request on all of `leases`, which need no renewal, if each of them has room for it."""
    first, *more = leases
    tightest, policy = first, first.policy
    for lease in more:
        policy += f", {lease.policy}"
        if lease.is_tighter_than(tightest):
            tightest = lease
    window, allowed = tightest.tightest, tightest.remaining >= weight
    if allowed:
        _ADMITTED.inc()
        for lease in leases:
            lease.left -= weight
    else:
        _REFUSED.inc()
        window = max((one for lease in leases for one in lease.without_room(weight)), key=_end)
    seconds = math.ceil(window.ends - now)
    return RateLimitResult(allowed, window.limit, tightest.remaining // REQUEST, seconds, policy)


def _end(window: _Window) -> float:
    return window.ends
