"""Who may go by the program's configuration, and who may change it, until the end of a transaction.

A trade is priced with the fee rates that are known, and rates that change price the trades anew that are
known. Two transactions that do one and the other at once would each not know what the other does.
"""

from __future__ import annotations

from typing import Final

from asyncpg import Connection

_KEY = "hashtextextended('configuration', 7)"
GO_BY_IT: Final = f"SELECT pg_advisory_xact_lock_shared({_KEY})"
"""Waits while another transaction changes it."""
CHANGE_IT: Final = f"SELECT pg_advisory_xact_lock({_KEY})"
"""Waits while other transactions change it or go by it, which each begins with."""


async def lock_configuration(connection: Connection) -> None:
    """CHANGE_IT, in a transaction that began with GO_BY_IT and finds that it changes the configuration.

    Of two that find it at once Postgres ends one, which raises DeadlockDetectedError.
    """
    await connection.execute(CHANGE_IT)
