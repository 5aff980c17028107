"""The one place that opens a connection to Postgres."""

from __future__ import annotations

from typing import Any

import asyncpg
from asyncpg import Connection

from zmartd.store.postgres.errors import refusal


async def connect(dsn: str, *, timeout_seconds: float, **options: Any) -> Connection:
    """A new connection. `options` are asyncpg's.

    Raises DatabaseUnavailable or DatabaseNotReady; neither tells anything of the URL but host and database.
    """
    try:
        connection: Connection = await asyncpg.connect(dsn, timeout=timeout_seconds, **options)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise refusal(dsn, error) from None
    return connection
