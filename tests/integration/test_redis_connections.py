from __future__ import annotations

import asyncio

import pytest

from tests.patience import SECONDS
from zmartd import redis_pool
from zmartd.config import RedisSettings
from zmartd.config_values import RedisUrl
from zmartd.dependencies import connect_redis, lead_redis_to, open_redis


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
        other = RedisUrl(redis_url.replace("db=0", "db=1"))
        assert other.reveal() != redis_url
        await lead_redis_to(redis, RedisSettings(url=other))
        assert await redis.get("where") is None
        assert {client["db"] for client in await redis.client_list()} == {"1"}
    finally:
        await redis.aclose()


async def test_a_client_of_a_server_that_is_away_is_there_all_the_same() -> None:
    redis = open_redis(RedisSettings(url=RedisUrl("redis://127.0.0.1:1/0")))
    await redis.aclose()
