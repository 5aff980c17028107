"""How many requests somebody may send in a minute and in an hour, on all daemons together.

Redis counts. A daemon takes a lease of requests from it, a tenth of the minute's limit or a hundredth of the
hour's, so that most requests need no round trip, and when it asks for the next one it says what was left of
the last. So nobody is ever let through more often than the limit says, and nobody is refused earlier than the
limit less one lease for each other daemon that the same caller talks to, or that died with one.

A request may count on several accounts, each with leases of its own: it is let through when all of them have
room, and then counts on all; one that is refused counts on none.

A window begins with a caller's first request and lasts its full length by Redis' clock. While Redis is away
each daemon counts by itself, a minute at a time, and goes on from what it knows of the hour: then the limits
hold for each of them. What was let through meanwhile is not told to Redis afterwards.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.metrics import Counter

MINUTE_SECONDS, HOUR_SECONDS = 60, 3_600
LEASES_PER_MINUTE, LEASES_PER_HOUR = 10, 100
MAX_CALLERS = 50_000
"""So many leases are remembered; one that is forgotten is paid for, and taken anew."""
PATIENCE_SECONDS = 0.5
AWAY_SECONDS = 2.0
"""How long Redis is left alone after it did not answer."""
_DUE = 0.0
"""Earlier than any time by the monotonic clock, also that of a request that was kept waiting."""

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
_ADMITTED, _REFUSED = _requests.labels("admitted"), _requests.labels("refused")

log = get_logger(__name__)


class Rates(Struct, frozen=True):
    """What a caller may do."""

    per_minute: int
    per_hour: int

    @property
    def policy(self) -> str:
        """As `RateLimit-Policy` has it."""
        return f"{self.per_minute};w={MINUTE_SECONDS}, {self.per_hour};w={HOUR_SECONDS}"


Account = tuple[str, Rates]
"""The name under which somebody's requests are counted, and how many there may be."""


class Standing(Struct, frozen=True, gc=False):
    """Where a caller stands after a request: in the window that has least left, of whichever account."""

    admitted: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until this window is over: when refused, until the next request may be let through."""
    policy: str
    """Of all the windows of all the accounts."""


class _Window(Struct, frozen=True):
    """A minute or an hour: what is left of it beyond the lease, until a time by the monotonic clock."""

    limit: int
    left: int
    ends: float


class _Lease:
    """So many requests may be let through until it ends; then, or when they are used up, the next is due.

    `shared`: it came from Redis, and what is left of it goes back there.
    """

    __slots__ = ("asking", "ends", "hour", "left", "minute", "narrowest", "policy", "rates", "shared")

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.policy = rates.policy
        self.minute = self.hour = self.narrowest = _Window(0, 0, 0.0)
        self.left = 0
        self.ends = _DUE
        self.shared = False
        self.asking: asyncio.Task[None] | None = None

    def grant(self, left: int, minute: _Window, hour: _Window, *, shared: bool) -> None:
        """Begin anew with `left` requests, out of what is left of the two windows."""
        self.left, self.minute, self.hour, self.shared = left, minute, hour, shared
        self.narrowest = min(minute, hour, key=lambda window: (window.left, -window.ends))
        used_up = [window.ends for window in (minute, hour) if left == 0 and window.left == 0]
        self.ends = max(used_up) if used_up else min(minute.ends, hour.ends)

    @property
    def remaining(self) -> int:
        """Requests left of the narrowest window. 0 while the lease lasts: the next one is refused."""
        return self.narrowest.left + self.left

    def is_narrower_than(self, other: _Lease) -> bool:
        """Whether it has less left, or as much for longer."""
        mine, others = self.remaining, other.remaining
        return mine < others or (mine == others and self.narrowest.ends > other.narrowest.ends)

    def take(self) -> None:
        """Let one request through: `remaining` is not 0."""
        self.left -= 1
        if self.left == 0 and self.narrowest.left:
            self.ends = _DUE  # there is more to be had

    def unspent(self, now: float) -> list[int]:
        """What goes back to the minute and the hour, where those are still the same ones."""
        if not self.shared:
            return [0, 0]
        return [self.left if now < window.ends else 0 for window in (self.minute, self.hour)]


class RateLimiter:
    """Counts requests by caller. Bounded in memory, and never in the way of a request when Redis is."""

    def __init__(self, redis: Redis, clock: Clock, max_callers: int = MAX_CALLERS) -> None:
        self.redis = redis
        self._clock = clock
        self._max_callers = max_callers
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._away_until = 0.0

    def count_leased(self, accounts: Sequence[Account], now: float) -> Standing | None:
        """Count one request on `accounts` where that takes no question; None: it was not counted.

        `now` is by the monotonic clock.
        """
        leases = []
        for caller, _ in accounts:
            lease = self._leases.get(caller)
            if lease is None or now >= lease.ends:
                return None
            leases.append(lease)
        return _count(leases, now)

    async def count(self, accounts: Sequence[Account]) -> Standing:
        """Count one request on `accounts`, of which there is at least one. Never raises."""
        named = [(caller, self._lease_of(caller, rates)) for caller, rates in accounts]
        while due := [one for one in named if self._clock.monotonic() >= one[1].ends]:
            for asking in [self._asking(caller, lease) for caller, lease in due]:
                await asyncio.shield(asking)
        return _count([lease for _, lease in named], self._clock.monotonic())

    def is_used_up(self, caller: str) -> bool:
        """Whether this daemon knows that the next request of `caller` would be refused."""
        lease = self._leases.get(caller)
        return lease is not None and self._clock.monotonic() < lease.ends and lease.remaining == 0

    def _asking(self, caller: str, lease: _Lease) -> asyncio.Task[None]:
        """The question for the next lease, the same one for all who wait for it."""
        if lease.asking is None:
            lease.asking = asyncio.create_task(self._renew(caller, lease), name="rate limit")
        return lease.asking

    def _lease_of(self, caller: str, rates: Rates) -> _Lease:
        lease = self._leases.get(caller)
        if lease is None:
            lease = self._leases[caller] = _Lease(rates)
            if len(self._leases) > self._max_callers:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(caller)
        return lease

    async def _renew(self, caller: str, lease: _Lease) -> None:
        try:
            if self._clock.monotonic() < self._away_until:
                self._alone(lease)
                return
            await self._ask(caller, lease)
        except (RedisError, OSError) as error:
            log.warning("rate_limit.alone", reason=type(error).__name__)
            self._away_until = self._clock.monotonic() + AWAY_SECONDS
            self._alone(lease)
        finally:
            lease.asking = None

    async def _ask(self, caller: str, lease: _Lease) -> None:
        rates = lease.rates
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
            answer = await cast("Awaitable[list[int]]", self.redis.eval(_LEASE, 2, *arguments))
        granted, minute_left, minute_ms, hour_left, hour_ms = answer
        lease.grant(
            granted,
            _Window(rates.per_minute, minute_left, now + minute_ms / 1_000),
            _Window(rates.per_hour, hour_left, now + hour_ms / 1_000),
            shared=True,
        )

    def _alone(self, lease: _Lease) -> None:
        """A minute's worth on this daemon's own account, out of what it knows to be left of the hour."""
        now, rates, hour = self._clock.monotonic(), lease.rates, lease.hour
        if now < hour.ends:
            left, ends = hour.left + lease.left, hour.ends
        else:
            left, ends = rates.per_hour, now + HOUR_SECONDS
        granted = min(rates.per_minute, left)
        lease.grant(
            granted,
            _Window(rates.per_minute, 0, min(ends, now + MINUTE_SECONDS)),
            _Window(rates.per_hour, left - granted, ends),
            shared=False,
        )


def _count(leases: Sequence[_Lease], now: float) -> Standing:
    """Count one request on all of the leases, none of which has ended, if it fits into each of them."""
    first, *more = leases
    narrowest, policy = first, first.policy
    for lease in more:
        policy += f", {lease.policy}"
        if lease.is_narrower_than(narrowest):
            narrowest = lease
    window, admitted = narrowest.narrowest, narrowest.remaining > 0
    if admitted:
        _ADMITTED.inc()
        for lease in leases:
            lease.take()
    else:
        _REFUSED.inc()
    seconds = math.ceil(window.ends - now)
    return Standing(admitted, window.limit, narrowest.remaining, seconds, policy)
