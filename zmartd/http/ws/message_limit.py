"""How many messages a client sends in a minute on all of its connections, counted over all daemons.

It is the limiter of requests that counts, with leases: of ten messages at most one needs a round trip, and
none waits for it. So messages that come while Redis is asked may still be acted on, at most a minute's on
each connection (`frame_limits`); once it has answered, none beyond the limit is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from zmartd.clock import Clock
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.kit.client_address import SITE_CLIENTS, site_of
from zmartd.http.middleware.rate_limiter import Bucket, RateLimiter, WindowLimits

_MINUTES_IN_HOUR: Final = 60


class MessageLimit:
    """The messages of clients, and of IPv6 sites, to all daemons."""

    def __init__(self, redis: Redis, clock: Clock, per_minute: int) -> None:
        self._limiter = RateLimiter(redis, clock)
        self._clock = clock
        self._client = _limits(per_minute, "messages of the address")
        self._site = _limits(per_minute * SITE_CLIENTS, "messages of the IPv6 /48")
        self._counting: set[asyncio.Task[None]] = set()

    def count(self, client: str) -> None:
        """Count a message. Raises TooManyMessages as far as this daemon knows."""
        buckets, site = [(f"ws-messages:{client}", self._client)], site_of(client)
        if site != client:
            buckets.append((f"ws-messages:{site}", self._site))
        result = self._limiter.count_leased(buckets, self._clock.monotonic())
        if result is None:
            task = asyncio.create_task(self._count(buckets), name="message limit")
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        elif not result.allowed:
            raise TooManyMessages

    async def _count(self, buckets: Sequence[Bucket]) -> None:
        await self._limiter.count(buckets)


def _limits(per_minute: int, of: str) -> WindowLimits:
    return WindowLimits(per_minute, per_minute * _MINUTES_IN_HOUR, of)
