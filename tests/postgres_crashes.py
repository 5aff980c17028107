"""A Postgres that recovers from the death of a backend, and then gives ids of transactions again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
from asyncpg import Connection

from tests.patience import SECONDS, patient_database
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.postgres.migrations import migrate

_SETTINGS: Final = {
    "wal_writer_delay": "10s",  # until then nothing writes what no commit waits for
    "autovacuum": "off",  # its transactions are written
}
_LOST: Final = 20
"""How many ids are used before a crash."""


class CrashingPostgres:
    """A server whose backends die where the test says so, and a daemon's connections to it."""

    def __init__(self, server: EmbeddedPostgres, database: Database) -> None:
        self._server = server
        self.database = database

    async def use_ids(self) -> Connection:
        """Give out ids of which the log has nothing yet. The connection is of the backend that is to die."""
        dying = await asyncpg.connect(self._server.dsn)
        for _ in range(_LOST):
            await dying.execute("begin; select pg_current_xact_id(); rollback")
        return dying

    async def next_id(self) -> int:
        """The next transaction's id."""
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(DatabaseUnavailable):  # connections from before the crash
                    async with self.database.service_reader() as reader:
                        following = "select pg_snapshot_xmax(pg_current_snapshot())::text"
                        return int(await reader.fetchval(following))

    async def crash(self, dying: Connection) -> None:
        """Have a backend die. All others end with it, and the server recovers from its log."""
        pid = dying.get_server_pid()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(asyncpg.PostgresError, OSError):
                    if not await self._is_running(pid):
                        return
                await asyncio.sleep(0.05)

    async def _is_running(self, pid: int) -> bool:
        """Whether the server takes connections, and has this backend."""
        connection = await asyncpg.connect(self._server.dsn)
        try:
            return bool(
                await connection.fetchval("select exists (select from pg_stat_activity where pid = $1)", pid)
            )
        finally:
            await connection.close()


@asynccontextmanager
async def crashing_postgres(directory: Path) -> AsyncIterator[CrashingPostgres]:
    """A server of the test's own, with the tables."""
    async with EmbeddedPostgres(directory, Durability.DURABLE, _SETTINGS) as server:
        await migrate(server.dsn)
        database = await Database.connect(patient_database(server.dsn))
        try:
            yield CrashingPostgres(server, database)
        finally:
            await database.close()
