from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl, urlencode

import pytest

from tests.patience import SECONDS
from zmartd import redis_pool
from zmartd.config import RedisSettings
from zmartd.config_values import RedisUrl
from zmartd.dependencies import connect_redis, lead_redis_to, open_redis, redis_pool_size
from zmartd.store.postgres.pool import PoolSize


async def test_thousands_of_commands_at_once_take_so_many_connections_and_all_are_done(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pool, "CONNECT_SECONDS", SECONDS)
    redis = await connect_redis(RedisSettings(url=RedisUrl(redis_url)))
    try:
        done = await asyncio.gather(*(redis.incr("commands") for _ in range(2_000)))
        assert sorted(done) == list(range(1, 2_001))
        clients = await redis.client_list()
        assert len(clients) <= redis_pool.MAX_CONNECTIONS + 5, "the tests' own"
    finally:
        await redis.delete("commands")
        await redis.aclose()


async def test_a_client_that_is_led_elsewhere_goes_on_there_and_keeps_no_connection(redis_url: str) -> None:
    redis = open_redis(RedisSettings(url=RedisUrl(redis_url)))
    try:
        await redis.set("where", "first")
        assert len(await redis.client_list()) >= 1
        server, _, options = redis_url.partition("?")
        other = f"{server}?{urlencode({**dict(parse_qsl(options)), 'db': 1})}"
        await lead_redis_to(redis, RedisSettings(url=RedisUrl(other)))
        assert await redis.get("where") is None
        assert {client["db"] for client in await redis.client_list()} == {"1"}
    finally:
        await redis.aclose()


async def test_a_client_of_a_server_that_is_away_is_there_all_the_same() -> None:
    redis = open_redis(RedisSettings(url=RedisUrl("redis://127.0.0.1:1/0")))
    await redis.aclose()


async def test_it_is_known_how_many_connections_there_are_and_how_many_commands_wait_for_one(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pool, "CONNECT_SECONDS", SECONDS)
    monkeypatch.setattr(redis_pool, "MAX_CONNECTIONS", 2)
    redis = open_redis(RedisSettings(url=RedisUrl(redis_url)))
    try:
        blocked = [asyncio.ensure_future(redis.blpop(["nothing"])) for _ in range(5)]
        while (size := redis_pool_size(redis)).in_use < 2 or size.waiting > 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert size == PoolSize(idle=0, in_use=2, most=2, waiting=3)
        async with open_redis(RedisSettings(url=RedisUrl(redis_url))) as other:
            await other.rpush("nothing", *range(5))
        await asyncio.gather(*blocked)
        assert redis_pool_size(redis) == PoolSize(idle=2, in_use=0, most=2, waiting=0)
    finally:
        await redis.aclose()
