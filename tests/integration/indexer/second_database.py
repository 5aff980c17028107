"""A second migrated database, empty each time. It is kept, because making one takes a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from tests.conftest import EMPTY, execute
from tests.patience import patient_database
from zmartd.embedded.postgres import DATABASE
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

NAME = "second"


@asynccontextmanager
async def second_database(database_url: str) -> AsyncIterator[Database]:
    """On the server of `database_url`, and through the same pooler if there is one."""
    url = database_url.replace(f"/{DATABASE}?", f"/{NAME}?")
    assert url != database_url
    with suppress(asyncpg.DuplicateDatabaseError):
        await execute(database_url, f"create database {NAME} template template0 strategy file_copy")
    await migrate(url)
    await execute(url, EMPTY)
    opened = await Database.connect(patient_database(url, pool_size=2))
    yield opened
    await opened.close()
