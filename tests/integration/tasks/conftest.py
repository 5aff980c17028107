from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


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
