from __future__ import annotations

import asyncio

import pytest

from tests.patience import SECONDS
from zmartd import dependencies
from zmartd.config import RedisSettings
from zmartd.config_values import RedisUrl
from zmartd.dependencies import MAX_REDIS_CONNECTIONS, connect_redis


async def test_thousands_of_commands_at_once_take_so_many_connections_and_all_are_done(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "REDIS_CONNECT_SECONDS", SECONDS)
    redis = await connect_redis(RedisSettings(url=RedisUrl(redis_url)))
    try:
        done = await asyncio.gather(*(redis.incr("commands") for _ in range(2_000)))
        assert sorted(done) == list(range(1, 2_001))
        clients = await redis.client_list()
        assert len(clients) <= MAX_REDIS_CONNECTIONS + 5, "the tests' own"
    finally:
        await redis.delete("commands")
        await redis.aclose()
