"""Servers and databases that tests run on: real ones, started here, and empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import asyncpg
import pytest
from event_loop import run
from redis import Redis

from zmartd import config
from zmartd.embedded.postgres import EmbeddedPostgres, Profile
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.store.migrate import migrate
from zmartd.store.pool import Database

TEMPLATE = "template_of_tests"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running Postgres with one migrated database, `TEMPLATE`, to copy."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), Profile.EPHEMERAL)
    run(server.start())
    try:
        run(_administer(server, f"create database {TEMPLATE}"))
        run(migrate(server.dsn_of(TEMPLATE)))
        yield server
    finally:
        run(server.stop())


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a migrated database that only this test uses."""
    name = f"test_{next(_numbers)}"
    run(_administer(postgres_server, f"create database {name} template {TEMPLATE} strategy file_copy"))
    yield postgres_server.dsn_of(name)
    run(_administer(postgres_server, f"drop database {name} with (force)"))


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without any table."""
    name = f"empty_{next(_numbers)}"
    run(_administer(postgres_server, f"create database {name} template template0 strategy file_copy"))
    yield postgres_server.dsn_of(name)
    run(_administer(postgres_server, f"drop database {name} with (force)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's database."""
    opened = await Database.connect(config.Database(url=config.Secret(database_url), pool_size=5))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A running Valkey."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    run(server.start())
    yield server
    run(server.stop())


@pytest.fixture
def redis_url(valkey_server: EmbeddedValkey) -> str:
    """The URL of a Redis-protocol server that holds nothing yet."""
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


async def _administer(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
