"""A Postgres with streaming replicas, all real: each a copy of its data directory that follows its log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from zmartd.embedded.installation import installation
from zmartd.embedded.postgres import Durability, EmbeddedPostgres

_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_retrieve_retry_interval": "100ms",
    "shared_buffers": "16MB",
}


def streaming_primary(directory: Path) -> EmbeddedPostgres:
    """A Postgres that replicas can follow."""
    return EmbeddedPostgres(directory, Durability.EPHEMERAL, _SETTINGS)


@asynccontextmanager
async def following(primary: EmbeddedPostgres, directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A replica of a running primary, which starts with all that this one has."""
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    copying = await asyncio.create_subprocess_exec(
        str(installation(for_everyone=os.geteuid() == 0) / "bin" / "pg_basebackup"),
        *("--dbname", primary.dsn, "--pgdata", str(directory / "data")),
        *("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-manifest"),
    )
    assert await copying.wait() == 0
    async with streaming_primary(directory) as replica:
        yield replica


async def ask(server: EmbeddedPostgres, question: str) -> object:
    """The one value that a statement gives."""
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()
