"""Turns: a short lease in Redis that lets one daemon ask Postgres where all would at the same moment.

It saves work and decides nothing. Without Redis every daemon asks, and Postgres decides as it does with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.log import get_logger

log = get_logger(__name__)

TURN_MILLISECONDS: Final = 900
"""After this time another daemon asks, because the first may have died before it did."""
PATIENCE_SECONDS: Final = 0.25
"""After this time without an answer, Redis counts as unavailable."""
UNAVAILABLE_SECONDS: Final = 10.0
"""For how long it is not asked again then, so that runs do not begin later for it."""
REFUSED_TURNS: Final = 8
"""A daemon that is refused an occasion for so many times as long as a turn takes it all the same: the key may
have no end, or one by the clock of a Redis that is away by now.
"""
_MAX_REFUSED: Final = 1_000


class Turns:
    """Who asks Postgres about an instant of a task, or about a run that has lost its daemon."""

    def __init__(
        self, redis: Redis, daemon: str, clock: Clock, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._redis = redis
        self._daemon = daemon
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._unavailable_until = float("-inf")
        self._refused: dict[str, float] = {}
        """Since when, by the monotonic clock, keys have been refused."""

    async def take(self, task: str, occasion: str, held_milliseconds: int = TURN_MILLISECONDS) -> bool:
        """Whether this daemon is to ask, and no other for as long as a turn takes. True also where Redis does
        not say. `held_milliseconds`: how long a daemon may `hold` turns for this.
        """
        key = _key(task, occasion)
        is_taken = await self._answer(
            lambda: self._redis.set(key, self._daemon, nx=True, px=TURN_MILLISECONDS)
        )
        if is_taken is None:
            return True
        if is_taken:
            self._refused.pop(key, None)
        return is_taken or self._is_refused_too_long(key, held_milliseconds)

    async def hold(self, task: str, occasion: str, milliseconds: int) -> None:
        """Let no other daemon ask for so long from now, also where the turn has ended meanwhile."""
        key = _key(task, occasion)
        await self._answer(lambda: self._redis.set(key, self._daemon, px=milliseconds))

    async def let_go(self, task: str, occasion: str) -> None:
        """Let another daemon ask at once."""
        await self.hold(task, occasion, 1)

    async def _answer(self, ask: Callable[[], Awaitable[Any]]) -> bool | None:
        """Whether Redis has done it; None where it does not say."""
        if self._clock.monotonic() < self._unavailable_until:
            return None
        asking = asyncio.ensure_future(ask())
        try:
            # `asyncio.timeout` would wait for the client to end, which can swallow its cancellation.
            await asyncio.wait({asking}, timeout=self._patience_seconds)
        finally:
            asking.add_done_callback(_forget)
            if not asking.done():
                asking.cancel()
        if not asking.done():
            self._is_unavailable("no answer")
            return None
        try:
            return bool(asking.result())
        except (RedisError, OSError) as error:
            self._is_unavailable(repr(error))
            return None

    def _is_refused_too_long(self, key: str, milliseconds: int) -> bool:
        now = self._clock.monotonic()
        if len(self._refused) >= _MAX_REFUSED:
            self._refused.clear()
        if now - self._refused.setdefault(key, now) < REFUSED_TURNS * milliseconds / 1_000:
            return False
        del self._refused[key]
        return True

    def _is_unavailable(self, error: str) -> None:
        self._unavailable_until = self._clock.monotonic() + UNAVAILABLE_SECONDS
        log.warning("task.turns_without_redis", error=error, seconds=UNAVAILABLE_SECONDS)


def _key(task: str, occasion: str) -> str:
    return f"zmartd:task:{task}:{occasion}"


def _forget(asking: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting an error that nobody waits for any more."""
    if not asking.cancelled():
        asking.exception()
