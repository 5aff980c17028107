"""Redis or Valkey: whether it keeps what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.dependencies import connect_redis
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient

OLDEST_VERSION = (6, 2)
_NO_EVICTION = "noeviction"
_FULL = 0.8
"""The part of maxmemory from which on somebody should look."""


async def _redis(patient: Patient) -> Sequence[Outcome]:
    patient.redis = redis = await connect_redis(patient.settings.redis)
    patient.resources.push_async_callback(redis.aclose)
    about = await _info(redis, "server")
    version = str(about.get("valkey_version") or about.get("redis_version") or "")
    if not version:
        return [ok("answers")]
    name = "Valkey" if "valkey_version" in about else "Redis"
    numbers = tuple(int(one) for one in version.split(".")[:2] if one.isdecimal())
    if numbers < OLDEST_VERSION:
        return [failed(f"{name} {version} is too old", "upgrade it to 6.2 or newer")]
    return [ok(f"{name} {version} answers")]


async def _eviction(patient: Patient) -> Sequence[Outcome]:
    assert patient.redis is not None, "set by the check `redis`"
    policy = await _eviction_policy(patient.redis)
    if policy is None:
        return [
            warning(
                "shows its maxmemory-policy to this user neither in INFO nor in CONFIG GET",
                "make sure that it is noeviction, or let the user give the command INFO",
            )
        ]
    if policy != _NO_EVICTION:
        return [
            failed(
                f"maxmemory-policy is {policy}: when memory is full, Redis drops sessions that were ended, "
                "task "
                "locks and counts of requests, and goes on as if they had never been",
                f"`redis-cli CONFIG SET maxmemory-policy {_NO_EVICTION}`, and the same in redis.conf or the "
                "provider's settings",
            )
        ]
    return [ok(policy)]


async def _memory(patient: Patient) -> Sequence[Outcome]:
    assert patient.redis is not None, "set by the check `redis`"
    memory = await _info(patient.redis, "memory")
    if "used_memory" not in memory:
        return [
            warning("shows its memory not to this user", "let the user of redis.url give the command INFO")
        ]
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
    if most and used > _FULL * most:
        return [
            warning(
                f"{used * 100 // most} % of {_megabytes(most)} are used; when it is full, Redis refuses "
                "writes",
                f"`redis-cli CONFIG SET maxmemory {2 * most}`, and the same in redis.conf or the provider's "
                "settings",
            )
        ]
    return [ok(f"{_megabytes(used)} of {_megabytes(most) if most else 'as much as the machine has'}")]


def _megabytes(number: int) -> str:
    return f"{number / 1_048_576:.1f} MB"


async def _info(redis: Redis, section: str) -> Mapping[str, Any]:
    """A part of INFO; empty where the user may not have it."""
    with suppress(RedisError):
        return dict(await redis.info(section))
    return {}


async def _eviction_policy(redis: Redis) -> str | None:
    """The server's maxmemory-policy, or None. INFO comes first: hosted servers often refuse CONFIG."""
    policy = (await _info(redis, "memory")).get("maxmemory_policy")
    if policy:
        return str(policy)
    with suppress(RedisError):
        for policy in (await redis.config_get("maxmemory-policy")).values():
            return policy.decode() if isinstance(policy, bytes) else str(policy)
    return None


CHECKS = (
    Check(
        name="redis",
        look=_redis,
        about="Redis answers, takes the user and the password, and is not too old",
        uses=("redis.url",),
        remedy="`zmartd config` shows redis.url without its password; `redis-cli -u` with the same URL "
        "tries it",
    ),
    Check(
        name="eviction",
        look=_eviction,
        about="Redis's maxmemory-policy is noeviction",
        uses=("redis.url",),
        needs=("redis",),
    ),
    Check(
        name="redis memory",
        look=_memory,
        about="how much of Redis's memory is used",
        uses=("redis.url",),
        needs=("redis",),
    ),
)
