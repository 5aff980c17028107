"""What tests of many rooms stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.world import World, a_world
from zmartd.store.postgres.database import Database


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of a server that holds nothing yet."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def world(tmp_path: Path, database: Database, redis: Redis) -> AsyncIterator[World]:
    """A chain whose admin is the backend authority."""
    async with a_world(tmp_path / "chain", database, redis) as world:
        yield world
