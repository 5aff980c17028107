from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


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
