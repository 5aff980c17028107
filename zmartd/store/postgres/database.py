"""Transactions and single reads in Postgres, each in the role of the caller that it is for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Self

import asyncpg
from asyncpg import Connection

from zmartd import config
from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.errors import (
    SERVER_ERRORS,
    DatabaseNotReady,
    DatabaseTimeout,
    location,
    unavailable,
)
from zmartd.store.postgres.pool import ConnectionPool, PooledConnection
from zmartd.store.postgres.reader import ACT_AS_SERVICE, PREPARE_ACTS, Reader, Reads, act_as
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE, SERVICE, Caller, begin_as

_ACQUIRE_SECONDS = 5.0
_IDLE_SECONDS = 60.0
"""How long a transaction may be idle before Postgres ends it."""
_NETWORK_SECONDS = 5.0
"""How much longer than the server's statement timeout the client waits, in case the server is gone."""


class Database:
    """A pool of connections, and what is done with them.

    `service` and `caller` open a transaction: it is committed at the end of the block, and rolled back when
    the block raises. `service_reader` and `reader` run single reads, each a transaction of its own that takes
    one round trip instead of three: use them for a block of one statement, or of reads that need no common
    snapshot.

    Role and claims are local to the transaction, so the next user of the connection starts without them. A
    block must do nothing but talk to the database, and must open no transaction of its own (SAVEPOINT is
    fine). It raises DatabaseUnavailable, DatabaseTimeout or DatabaseNotReady, and asyncpg's error for a
    statement that Postgres refused.
    """

    def __init__(self, pool: ConnectionPool, dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    async def connect(cls, settings: config.DatabaseSettings) -> Self:
        """Open the pool and check that it can be used.

        Raises DatabaseUnavailable or DatabaseNotReady, which name the database and say what to do.
        """
        dsn = settings.url.reveal()
        timeout_ms = str(int(settings.statement_timeout_seconds * 1000))
        open_connection = partial(
            _connect,
            dsn,
            command_timeout=settings.statement_timeout_seconds + _NETWORK_SECONDS,
            server_settings={
                "application_name": "zmartd",
                "statement_timeout": timeout_ms,
                "idle_in_transaction_session_timeout": str(int(_IDLE_SECONDS * 1000)),
                "timezone": "UTC",
            },
        )
        pool = ConnectionPool(open_connection, settings.pool_size, _ACQUIRE_SECONDS, time.monotonic)
        database = cls(pool, dsn)
        try:
            async with database.service():
                return database
        except BaseException:
            pool.terminate()
            raise

    async def close(self) -> None:
        """Close all connections, waiting for transactions that are running."""
        await self._pool.close()

    def service(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the daemon itself: row level security hides nothing from it."""
        return self._transaction(SERVICE, BEGIN_AS_SERVICE)

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        """A transaction of a caller: row level security decides what it reads and writes."""
        return self._transaction(caller.role, begin_as(caller))

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        """Single reads of the daemon itself, with the rights that `service` has."""
        return self._reads(SERVICE, ACT_AS_SERVICE)

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Reads]:
        """Single reads of a caller, with the rights that `caller` has."""
        return self._reads(caller.role, act_as(caller))

    @asynccontextmanager
    async def _reads(self, role: str, act: bytes) -> AsyncIterator[Reads]:
        async with self._acquired(role) as pooled:
            yield Reader(pooled.connection, act, pooled.statements)

    @asynccontextmanager
    async def _transaction(self, role: str, begin: str) -> AsyncIterator[Connection]:
        async with self._acquired(role) as pooled:
            await self._begin(pooled.connection, begin)
            yield pooled.connection
            await pooled.connection.execute("COMMIT")

    @asynccontextmanager
    async def _acquired(self, role: str) -> AsyncIterator[PooledConnection]:
        """A connection of the pool. An exception rolls back the transaction that is open on it."""
        try:
            pooled = await self._pool.acquire(role)
            try:
                yield pooled
            except BaseException as error:
                if not pooled.connection.is_closed():
                    await _roll_back(pooled.connection)
                elif isinstance(error, asyncpg.InterfaceError):
                    raise unavailable(self._dsn, error) from error
                raise
            finally:
                self._pool.release(pooled)
        except SERVER_ERRORS as error:
            raise unavailable(self._dsn, error) from error
        except (asyncpg.QueryCanceledError, TimeoutError) as error:
            raise DatabaseTimeout from error
        except OSError as error:
            raise unavailable(self._dsn, error) from error

    async def _begin(self, connection: Connection, begin: str) -> None:
        try:
            await connection.execute(begin)
        except (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError) as error:
            raise DatabaseNotReady(
                f"Postgres at {location(self._dsn)} has no zmartd schema yet: run `zmartd migrate`"
            ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseNotReady(
                f"the user of database.url may not act as zmartd's roles in {location(self._dsn)}: as an "
                "administrator run GRANT anon, authenticated, service_role TO <that user>"
            ) from error


async def _connect(dsn: str, *, command_timeout: float, server_settings: dict[str, str]) -> Connection:
    connection = await connect(
        dsn,
        timeout_seconds=_ACQUIRE_SECONDS,
        command_timeout=command_timeout,
        server_settings=server_settings,
    )
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_decoded_numeric, format="text"
    )
    await connection.execute(PREPARE_ACTS)
    return connection


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except BaseException:
        connection.terminate()  # its state is unknown
        raise


def _decoded_numeric(text: str) -> int | Decimal:
    """A NUMERIC without decimals (lamports, shares) as int, one with decimals (prices) as Decimal."""
    return Decimal(text) if "." in text else int(text)
