"""A second migrated database, empty each time. It is kept, because making one takes a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import asyncpg

from tests.conftest import EMPTY
from tests.outside_servers import as_administrator, second_of
from tests.patience import patient_database
from tests.statements import execute
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate


@asynccontextmanager
async def second_database(database_url: str) -> AsyncIterator[Database]:
    """On the server of `database_url`, and through the same pooler if there is one."""
    first = as_administrator(database_url)
    url = second_of(first)
    with suppress(asyncpg.DuplicateDatabaseError):
        name = urlsplit(url).path.removeprefix("/")
        await execute(first, f"create database {name} template template0 strategy file_copy")
    await migrate(url)
    await execute(url, EMPTY)
    opened = await Database.connect(patient_database(url, pool_size=2))
    yield opened
    await opened.close()
