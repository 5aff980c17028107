"""What poolers say when they refuse a client, and what its operator can do.

They have no codes of their own: PgBouncer says 08P01 for whatever it is (src/client.c, src/objects.c), and
Supavisor XX000 (lib/supavisor/errors/). So the words decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg

_SHORTAGES: Final = {
    "its pooler lets in no more clients): lower database.pool_size of the daemons, or raise the pooler's "
    "limit (PgBouncer: max_client_conn; Supabase in session mode: pool size)": (
        "no more connections allowed",
        "client connections exceeded",
        "max client connections reached",
        "max clients reached",
    ),
    "all connections of its pooler to Postgres stayed in use): raise the pooler's pool size, or lower "
    "database.pool_size of the daemons": (
        "query_wait_timeout",
        "checkout timeout",
    ),
    "its pooler cannot log in to Postgres): check that Postgres is running, and the pooler's log": (
        "server login has been failing",
        "server login failed",
        "cannot connect to server",
    ),
    "its pooler gives each statement another connection, so there are no transactions): set pool_mode of "
    "PgBouncer to transaction": ("not allowed in statement pooling mode",),
}
_MISTAKES: Final = {
    "knows no such user: at Supabase the user in database.url is postgres.<project reference>": (
        "tenant or user not found",
        "tenant/user",
        "no tenant identifier",
    ),
    "refuses the user or the password in database.url: check both": (
        "authentication failed",
        "no such user",
    ),
    "knows no such database: check the database name in database.url": (
        "no such database",
        '" does not exist',
    ),
    "refuses an option in database.url: remove it, or add it to PgBouncer's ignore_startup_parameters": (
        "unsupported startup parameter",
    ),
}


def shortage(error: BaseException) -> str | None:
    """Why a pooler has no backend for its client, if it says so: `why): what to do`."""
    return _meaning(error, _SHORTAGES)


def mistake(error: BaseException) -> str | None:
    """What a pooler does not accept in the connection URL, if it says so."""
    return _meaning(error, _MISTAKES)


def _meaning(error: BaseException, meanings: Mapping[str, tuple[str, ...]]) -> str | None:
    if not isinstance(error, (asyncpg.PostgresConnectionError, asyncpg.InternalServerError)):
        return None
    said = str(error).lower()
    return next((meaning for meaning, words in meanings.items() if any(word in said for word in words)), None)
