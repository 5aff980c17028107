from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.realtime.hubs import running_hub
from tests.integration.realtime.listeners import Markets
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.realtime.bus import Bus
from zmartd.realtime.hub import Hub
from zmartd.store.postgres.database import Database


@pytest.fixture
def bus(redis: Redis) -> Bus:
    return Bus(redis, SystemClock())


@pytest.fixture
async def markets(database: Database, bus: Bus) -> Markets:
    markets = Markets(database, bus)
    await markets.create()
    return markets


@pytest.fixture
async def hub(bus: Bus, markets: Markets, database: Database) -> AsyncIterator[Hub]:
    async with running_hub(bus, database) as hub:
        yield hub


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A server that the test may stop and start."""
    server = EmbeddedValkey(tmp_path / "valkey")
    await server.start()
    yield server
    await server.stop()
