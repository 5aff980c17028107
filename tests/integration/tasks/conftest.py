from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.tasks.world import World, a_world
from zmartd.store.postgres.database import Database


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of a server that holds nothing yet."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def lost_redis(tmp_path: Path) -> AsyncIterator[Redis]:
    """A client of a server that is not there."""
    client = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    yield client
    await client.aclose()


@pytest.fixture
async def silent_redis(tmp_path: Path) -> AsyncIterator[Redis]:
    """A client of a server that takes connections and never answers."""
    listener = await asyncio.start_unix_server(lambda _reader, _writer: None, tmp_path / "silent.sock")
    client = Redis(unix_socket_path=str(tmp_path / "silent.sock"), retry=Retry(NoBackoff(), 0))
    yield client
    await client.aclose()
    listener.close()


@pytest.fixture
async def world(tmp_path: Path, database: Database, redis: Redis) -> AsyncIterator[World]:
    """A chain whose admin is the backend authority."""
    async with a_world(tmp_path / "chain", database, redis) as world:
        yield world
