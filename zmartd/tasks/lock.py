"""A lock that keeps several daemons from running a task at once: a lease in Redis with a fencing token.

The lock avoids double work and is no guarantee: a process can pause between its last check of the lease and
its next step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

LEASE_SECONDS: Final = 15.0
"""How long no daemon runs a task after the daemon that was running it has been killed."""
RENEWALS_PER_LEASE: Final = 3
PATIENCE_SECONDS: Final = 5.0
"""After this time without an answer, Redis counts as unavailable."""

# The value contains the token, so that only the holder can renew or release the lease, and the owner's name,
# which distinguishes two holders when Redis has lost its data and the tokens have started again.
_ACQUIRE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder then return {0, holder} end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return {token, ''}
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class LockBusy(ZmartdError):
    """Another run of this task is in progress."""

    code = "lock_busy"


class LockLost(ZmartdError):
    """The task's lock was lost while it ran, so the run was stopped; the next run continues its work."""

    code = "lock_lost"


class LockUnavailable(ZmartdError):
    """Redis does not answer, so the task's lock cannot be taken: check redis.url and the server."""

    code = "lock_unavailable"


class TaskLock:
    """Runs work while it holds the lease of a task's name.

    `owner` names this daemon to operators, and must differ from every other daemon's.
    """

    def __init__(
        self,
        redis: Redis,
        owner: str,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._redis = redis
        self._owner = owner
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._patience_seconds = patience_seconds
        self._lease_ms = str(round(lease_seconds * 1_000))

    async def run(self, name: str, work: Callable[[int], Coroutine[Any, Any, T]]) -> T:
        """Run `work(fencing_token)` while the lease of `name` is held and renewed; its result.

        Raises LockBusy (with the holder) or LockUnavailable before `work` is called, and LockLost after
        `work` was cancelled because the lease could not be renewed.
        """
        valid_until = self._clock.monotonic() + self._lease_seconds
        token = await self._acquire(name)
        working = asyncio.create_task(work(token))
        keeping = asyncio.create_task(self._keep(name, token, valid_until, working))
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise LockLost
        finally:
            for task in (working, keeping):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._release(name, token)

    async def _acquire(self, name: str) -> int:
        try:
            token, holder = await self._script(_ACQUIRE, [_key(name), _fence_key(name)], self._owner)
        except (RedisError, OSError) as error:
            raise LockUnavailable from error
        if not token:
            owner = _text(holder).partition(":")[2]
            raise LockBusy(f"{name} is already running on {owner}")
        return int(token)

    async def _keep(self, name: str, token: int, valid_until: float, working: asyncio.Task[Any]) -> None:
        """Renew the lease until it is lost: taken over, or not renewed in time because Redis is unavailable.

        It checks `working` since a cancellation alone may not end it: on Python 3.11 `asyncio.wait_for`,
        which the Redis client uses, can swallow one.
        """
        pause_seconds = self._lease_seconds / RENEWALS_PER_LEASE
        while not working.done():
            await self._clock.sleep(pause_seconds)
            asked_at = self._clock.monotonic()
            try:
                if not await self._script(_RENEW, [_key(name)], self._value(token)):
                    log.warning("task.lock_taken", task=name, fencing_token=token)
                    return
                valid_until = asked_at + self._lease_seconds
            except (RedisError, OSError) as error:
                log.warning("task.lock_not_renewed", task=name, fencing_token=token, error=repr(error))
            if self._clock.monotonic() + pause_seconds >= valid_until:
                return

    async def _release(self, name: str, token: int) -> None:
        try:
            await self._script(_RELEASE, [_key(name)], self._value(token))
        except (RedisError, OSError) as error:
            log.warning("task.lock_not_released", task=name, fencing_token=token, error=repr(error))

    async def _script(self, script: str, keys: list[str], value: str) -> Any:
        """Raises RedisError or OSError; a TimeoutError is an OSError."""
        async with asyncio.timeout(self._patience_seconds):
            return await self._redis.eval(script, len(keys), *keys, value, self._lease_ms)

    def _value(self, token: int) -> str:
        return f"{token}:{self._owner}"


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply


def _key(name: str) -> str:
    return f"zmartd:task:{name}:lock"


def _fence_key(name: str) -> str:
    return f"zmartd:task:{name}:fence"
