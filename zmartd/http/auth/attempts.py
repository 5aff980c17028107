"""How often somebody may try something in a minute, counted in Redis for all daemons together."""

from __future__ import annotations

from redis.asyncio import Redis

from zmartd.http.auth.errors import TooManyAttempts
from zmartd.http.auth.memory import memory_needed

WINDOW_SECONDS = 60


class Attempts:
    """Counts from the first attempt for one window; then the count starts anew."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, what: str, who: str, limit: int) -> None:
        """Count one attempt. Raises TooManyAttempts over the limit, SessionsUnavailable."""
        key = f"auth:attempts:{what}:{who}"
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECONDS, nx=True)
            pipeline.ttl(key)
            with memory_needed():
                count, _, seconds_left = await pipeline.execute()
        if count > limit:
            raise TooManyAttempts(max(1, seconds_left))
