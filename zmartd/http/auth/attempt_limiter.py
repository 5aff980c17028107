"""How often somebody may try something in a minute, counted in Redis for all daemons together.

While Redis is away nothing is counted here: the API's own rate limits, which then count on each daemon, stand
before it. What is lost with Redis is a count of at most a minute.
"""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.http.errors.auth import TooManyAttempts
from zmartd.log import get_logger

WINDOW_SECONDS = 60
PATIENCE_SECONDS = 0.5
"""A Redis that says nothing for this long is away."""

log = get_logger(__name__)


class Attempts:
    """Counts from the first attempt for one window; then the count starts anew."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, what: str, who: str, limit: int) -> None:
        """Count one attempt. Raises TooManyAttempts over the limit."""
        key = f"auth:attempts:{what}:{who}"
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                self._redis.pipeline(transaction=True) as pipeline,
            ):
                pipeline.incr(key)
                pipeline.expire(key, WINDOW_SECONDS, nx=True)
                pipeline.ttl(key)
                count, _, seconds_left = await pipeline.execute()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("auth.attempt_not_counted", what=what, reason=type(error).__name__)
            return
        if count > limit:
            raise TooManyAttempts(max(1, seconds_left))
