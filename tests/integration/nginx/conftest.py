from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from redis import Redis

from tests.debian_packages import NotToBeHad, debian_program
from tests.integration.nginx.system import System, system


@pytest.fixture(scope="module")
def emptied_afterwards(
    migrated_database_url: str, empty_migrated_database: Callable[[], None]
) -> Iterator[str]:
    """The URL of a migrated database that a module's tests share."""
    yield migrated_database_url
    empty_migrated_database()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_system(
    emptied_afterwards: str, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """Two daemons behind nginx, for all tests of a module."""
    try:
        debian_program("nginx", "nginx")
    except NotToBeHad as error:
        pytest.skip(str(error))
    with Redis.from_url(redis_server_url) as client:
        client.flushall()
    directory = tmp_path_factory.mktemp("behind-nginx")
    async with system(directory, emptied_afterwards, redis_server_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def behind_nginx(shared_system: System) -> System:
    """The same, with daemons that run, whatever the test before has done to them."""
    await asyncio.gather(*(daemon.start() for daemon in shared_system.daemons if daemon.has_ended))
    return shared_system
