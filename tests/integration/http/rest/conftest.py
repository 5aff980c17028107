from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.http.rest.database_cable import Cable, laid_cable
from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.http.rest.rest_stage import Stage, running_stage
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.database import Database


@pytest.fixture
async def api(database: Database, redis_url: str) -> AsyncIterator[Api]:
    """The API without a chain: nobody answers at its RPC endpoint."""
    async with running_api(database, redis_url) as api:
        yield api


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain that runs the program."""
    async with running_stage(database, redis_url, tmp_path) as stage:
        yield stage


@pytest.fixture
async def cable(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cable]:
    """A way to the test's database that can be cut."""
    async with laid_cable(database_url, tmp_path_factory.mktemp("cable")) as cable:
        yield cable


@pytest.fixture
async def severable_api(cable: Cable, redis_url: str) -> AsyncIterator[Api]:
    """The API without a chain, at the other end of `cable`."""
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(cable.url), pool_size=2))
    async with running_api(database, redis_url) as api:
        yield api
    await database.close()
