"""The servers that commands talk to, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.world import PROGRAM_ID, World, a_world
from zmartd.store.postgres.database import Database


@pytest.fixture
async def world(tmp_path: Path, database: Database, redis_url: str) -> AsyncIterator[World]:
    redis = Redis.from_url(redis_url)
    async with a_world(tmp_path / "chain", database, redis) as world:
        yield world
    await redis.aclose()


@pytest.fixture
def environment(world: World, database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of a command, with the URLs of all servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")} | {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": world.own.rpc.endpoint,
        "ZMARTD_SOLANA_PROGRAM_ID": str(PROGRAM_ID),
    }
