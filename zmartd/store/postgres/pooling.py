"""Finds out whether a pooler stands between this process and Postgres.

Postgres tells a client the process id of its backend when it connects. A pooler tells its clients numbers of
its own: PgBouncer random ones of 32 bits (`welcome_client` in src/client.c), Supavisor, which is Supabase's,
those of a counter (`backend_key_data` in lib/supavisor/protocol/server.ex). So a connection leads directly to
its backend if that has the id that the connection was told. A counter may come to the id of a process by
accident, but the backends of Supavisor's transaction mode go by its application name.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

from asyncpg import Connection

from zmartd.store.postgres.connection import APPLICATION_NAME, connect
from zmartd.store.postgres.errors import SERVER_ERRORS, DatabaseTimeout, unavailable

_ANSWER_SECONDS = 5.0
_LOOKS = 10


class Pooling(Enum):
    """Which backend a pooler gives to its clients."""

    NONE = "none"
    """There is none: each connection leads to a backend of its own."""
    SESSION = "session"
    """A connection has one backend for as long as it is open."""
    TRANSACTION = "transaction"
    """Each transaction gets one of those that all clients share."""


async def is_direct(connection: Connection) -> bool:
    """Whether a connection leads directly to its backend. Leaves nothing behind there."""
    return await _backend(connection) == (connection.get_server_pid(), APPLICATION_NAME)


async def find_pooling(dsn: str) -> Pooling:
    """Find out what stands between this process and the database of `dsn`.

    SESSION means that two connections, both open, kept different backends for a while. Where other programs
    take each released backend at once, a transaction pooler could look so, too: nothing that has to be right
    may depend on it.

    Raises DatabaseUnavailable, DatabaseNotReady, DatabaseTimeout.
    """
    try:
        return await _find_pooling(dsn)
    except SERVER_ERRORS as error:
        raise unavailable(dsn, error) from error
    except TimeoutError as error:
        raise DatabaseTimeout from error


async def _find_pooling(dsn: str) -> Pooling:
    connected = partial(
        connect, dsn, timeout_seconds=_ANSWER_SECONDS, command_timeout=_ANSWER_SECONDS, statement_cache_size=0
    )
    one = await connected()
    try:
        if await is_direct(one):
            return Pooling.NONE
        other = await connected()
        try:
            kept = await _backend(one)
            for _ in range(_LOOKS):
                if await _backend(other) == kept or await _backend(one) != kept:
                    return Pooling.TRANSACTION
        finally:
            await other.close()
    finally:
        await one.close()
    return Pooling.SESSION


async def _backend(connection: Connection) -> tuple[int, str]:
    """The process id and the application name of the backend that runs a transaction for `connection`.

    COPY is sent as text: every other query of asyncpg that returns rows prepares a statement.
    """
    answer = bytearray()

    async def keep(data: bytes) -> None:
        answer.extend(data)

    query = "SELECT pg_backend_pid(), current_setting('application_name')"
    await connection.copy_from_query(query, output=keep)
    pid, _, name = answer.decode().removesuffix("\n").partition("\t")
    return int(pid), name
