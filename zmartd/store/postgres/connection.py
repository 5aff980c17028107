"""Opens a connection to Postgres; nothing else does."""

from __future__ import annotations

from typing import Any

import asyncpg
from asyncpg import Connection

from zmartd.store.postgres.errors import connection_error

APPLICATION_NAME = "zmartd"


async def connect(dsn: str, *, timeout_seconds: float, **options: Any) -> Connection:
    """A new connection. `options` are asyncpg's.

    Other settings than this are not asked for here: PgBouncer refuses a client that asks for one that it does
    not know.

    Raises DatabaseUnavailable or DatabaseNotReady, which quote nothing of the URL but host and database.
    """
    try:
        connection: Connection = await asyncpg.connect(
            dsn,
            timeout=timeout_seconds,
            server_settings={"application_name": APPLICATION_NAME},
            **options,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise connection_error(dsn, error) from None
    return connection
