"""Transactions in Postgres, each under the role of whoever it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Self, cast

import asyncpg
from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

from zmartd import config
from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.errors import (
    OUT_OF_ORDER,
    DatabaseNotReady,
    DatabaseTimeout,
    place,
    unavailable,
)
from zmartd.store.postgres.pool import Connections
from zmartd.store.postgres.reader import ACT_AS_SERVICE, Reading, Statements, act_as
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE, SERVICE, Caller, begin_as

_ACQUIRE_SECONDS = 5.0
_IDLE_SECONDS = 60.0
"""How long a transaction may wait for the daemon itself before Postgres ends it."""
_NETWORK_SECONDS = 5.0
"""How much longer than the server the client waits for a statement, in case the server is gone."""


class Database:
    """A pool of connections. Each `async with` below is one transaction: committed at its end, rolled back
    when the block raises.

    The role and the claims are local to that transaction, so the next user of the connection starts without
    them. A block must do nothing but talk to the database, and open no transaction of its own (SAVEPOINT is
    fine). It raises DatabaseUnavailable, DatabaseTimeout or DatabaseNotReady, and the asyncpg error of a
    statement that Postgres refused.
    """

    def __init__(self, connections: Connections, dsn: str) -> None:
        self._connections = connections
        self._statements: dict[Connection, Statements] = {}
        self._dsn = dsn

    @classmethod
    async def connect(cls, settings: config.Database) -> Self:
        """Open the pool and make sure that it can be used.

        Raises DatabaseUnavailable or DatabaseNotReady, both saying which database and what to do.
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
        connections = Connections(open_connection, settings.pool_size, _ACQUIRE_SECONDS)
        database = cls(connections, dsn)
        try:
            async with database.service():
                return database
        except BaseException:
            connections.terminate()
            raise

    async def close(self) -> None:
        """Close all connections, waiting for transactions that are running."""
        await self._connections.close()

    def service(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the daemon's own, which every row is open to."""
        return self._transaction(SERVICE, BEGIN_AS_SERVICE)

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        """A transaction on a caller's behalf: row level security decides what it sees and writes."""
        return self._transaction(caller.role, begin_as(caller))

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        """What a caller may see, read statement by statement: each is a transaction of its own and takes one
        round trip instead of three. Only fetch, fetchrow and fetchval; for what belongs together and for what
        writes there is `caller`.
        """
        return self._reading(caller.role, act_as(caller))

    def service_reader(self) -> AbstractAsyncContextManager[Connection]:
        """`reader` for the daemon itself: what it is to `caller`, this is to `service`."""
        return self._reading(SERVICE, ACT_AS_SERVICE)

    @asynccontextmanager
    async def _reading(self, role: str, act: bytes) -> AsyncIterator[Connection]:
        async with self._connection(role) as connection:
            statements = self._statements.get(connection)
            if statements is None:
                statements = self._statements[connection] = Statements(connection)
                connection.add_termination_listener(self._forget)
            yield cast(Connection, Reading(connection, act, statements))

    def _forget(self, lost: Connection | PoolConnectionProxy) -> None:
        self._statements.pop(cast(Connection, lost), None)

    @asynccontextmanager
    async def _transaction(self, role: str, begin: str) -> AsyncIterator[Connection]:
        async with self._connection(role) as connection:
            await self._begin(connection, begin)
            yield connection
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def _connection(self, role: str) -> AsyncIterator[Connection]:
        """A connection, which nothing that raises leaves in the middle of a transaction."""
        try:
            connection = await self._connections.take(role)
            try:
                yield connection
            except BaseException as error:
                if not connection.is_closed():
                    await _roll_back(connection)
                elif isinstance(error, asyncpg.InterfaceError):
                    raise unavailable(self._dsn, error) from error
                raise
            finally:
                self._connections.give_back(connection, role)
        except OUT_OF_ORDER as error:
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
                f"Postgres at {place(self._dsn)} has no zmartd schema yet: run `zmartd migrate`"
            ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseNotReady(
                f"the user of database.url may not act as zmartd's roles in {place(self._dsn)}: as an "
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
        "numeric", schema="pg_catalog", encoder=str, decoder=exact_number, format="text"
    )
    return connection


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except BaseException:
        connection.terminate()  # nobody knows what it is in the middle of
        raise


def exact_number(text: str) -> int | Decimal:
    """A NUMERIC without decimals (lamports, shares) as int, one with decimals (prices) as Decimal."""
    return Decimal(text) if "." in text else int(text)
