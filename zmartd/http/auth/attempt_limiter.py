"""Limits sign-in attempts by minute, counted in Redis for all daemons together.

While Redis is away nothing is counted here. The API's rate limits, which each daemon then counts by itself,
still hold.
"""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.http.errors.auth import TooManyAttempts
from zmartd.log import get_logger

WINDOW_SECONDS = 60
REDIS_TIMEOUT_SECONDS = 0.5

log = get_logger(__name__)


class AttemptLimiter:
    """Counts attempts in windows of a minute; a window begins with its first attempt."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, kind: str, key: str, limit: int) -> None:
        """Count one attempt of `kind` by `key`. Raises TooManyAttempts over the limit."""
        counter = f"auth:attempts:{kind}:{key}"
        try:
            async with (
                asyncio.timeout(REDIS_TIMEOUT_SECONDS),
                self._redis.pipeline(transaction=True) as pipeline,
            ):
                pipeline.incr(counter)
                pipeline.expire(counter, WINDOW_SECONDS, nx=True)
                pipeline.ttl(counter)
                count, _, seconds_left = await pipeline.execute()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("auth.attempt_not_counted", what=kind, reason=type(error).__name__)
            return
        if count > limit:
            raise TooManyAttempts(max(1, seconds_left))
