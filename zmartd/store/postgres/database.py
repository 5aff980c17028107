"""Transactions and single reads in Postgres, each in the role of the caller that it is for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

import asyncpg
from asyncpg import Connection

from zmartd import config
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store.postgres import plans, pooler
from zmartd.store.postgres.backend import (
    Backend,
    OwnBackend,
    SharedBackend,
    begin_replayed,
    require_replayed,
)
from zmartd.store.postgres.errors import (
    SERVER_ERRORS,
    DatabaseNotReady,
    DatabaseTimeout,
    DatabaseUnavailable,
    backend_is_shared,
    location,
    unavailable,
)
from zmartd.store.postgres.pool import ConnectionPool, PooledConnection, PoolSize
from zmartd.store.postgres.pooling import Pooling, find_pooling, is_direct
from zmartd.store.postgres.reader import Reader, Reads
from zmartd.store.postgres.rls import SERVICE, Caller
from zmartd.store.postgres.sources import Source

log = get_logger(__name__)

FAILURES = Counter(
    "zmartd_database_failures",
    "Uses of Postgres that failed because of Postgres, by what was wrong.",
    ["reason"],
)
for _reason in ("timeout", "unavailable"):
    FAILURES.labels(_reason)

ROLLBACK_SECONDS = 1.0
"""How long a rollback may take. Where Postgres hangs, whoever was cancelled would wait for it."""
FULL_SECONDS = 5.0
"""How long a disk that was full counts as full: an error is all that tells of it."""

_ANOTHER_BACKEND = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""What Postgres says when a backend is not the one on which a statement was prepared."""


class Database:
    """A pool of connections, and what is done with them.

    `service` and `caller` open a transaction: it is committed at the end of the block, and rolled back when
    the block raises. `service_reader` and `reader` run single reads, each a transaction of its own that takes
    fewer round trips: use them for a block of one statement, or of reads that need no common
    snapshot.

    Role and claims are local to the transaction, so the next user of the connection starts without them. A
    block must do nothing but talk to the database, and must open no transaction of its own (SAVEPOINT is
    fine). It raises DatabaseUnavailable, DatabaseTimeout or DatabaseNotReady, and asyncpg's error for a
    statement that Postgres refused.
    """

    def __init__(
        self, settings: config.DatabaseSettings, *, read_only: bool = False, failures: Counter = FAILURES
    ) -> None:
        """It connects when it is used. With `read_only` Postgres refuses every statement that would write, on
        every connection. `failures` counts by what was wrong, as FAILURES does.
        """
        self._failures = failures
        self._dsn = settings.url.reveal()
        self._pooled = settings.pooled
        self._own = OwnBackend(settings.statement_timeout_seconds, read_only=read_only)
        self._shared = SharedBackend(settings.statement_timeout_seconds, read_only=read_only)
        self._backend: Backend = self._shared if self._pooled == "yes" else self._own
        self._refused: ZmartdError | None = None
        """Why the last new connection was refused."""
        self._full: tuple[float, DatabaseUnavailable] | None = None
        """When Postgres last had no room to write, and the error for that."""
        self._is_proven = self._pooled != "no"
        """Whether it is known that connections keep their backends, where they have to."""
        self._proving = asyncio.Lock()
        self._pool = ConnectionPool(self._open, settings.pool_size, settings.acquire_seconds, time.monotonic)

    @classmethod
    async def connect(cls, settings: config.DatabaseSettings, *, read_only: bool = False) -> Self:
        """Open the pool and check that it can be used.

        Raises DatabaseUnavailable or DatabaseNotReady, which name the database and say what to do.
        """
        database = cls(settings, read_only=True) if read_only else cls(settings)
        try:
            await database.require_usable()
        except BaseException:
            database._pool.terminate()
            raise
        return database

    async def require_usable(self) -> None:
        """Check that it can be used.

        Raises DatabaseUnavailable, DatabaseTimeout or DatabaseNotReady, which name it and say what to do.
        """
        async with self.service():
            pass

    async def close(self) -> None:
        """Close all connections, waiting for transactions that are running."""
        await self._pool.close()

    def lead_to(self, settings: config.DatabaseSettings) -> None:
        """Open new connections to the URL of these settings, and replace the others as they come back."""
        self._dsn = settings.url.reveal()
        self._backend = self._shared if self._pooled == "yes" else self._own
        self._is_proven = self._pooled != "no"
        self._pool.retire()

    def pool_size(self) -> PoolSize:
        """How many connections there are, and how many wait for one. Any thread may ask."""
        return self._pool.size()

    def service(
        self, *, keeps_plans: bool = False, first: str = ""
    ) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the daemon itself: row level security hides nothing from it.

        `keeps_plans`: whether Postgres keeps the plans of its statements (`plans` says for which it may).
        `first`: a statement without arguments and result, which takes no round trip of its own.
        """
        return self._transaction(None, keeps_plans=keeps_plans, first=first)

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        """A transaction of a caller: row level security decides what it reads and writes."""
        return self._transaction(caller)

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        """Single reads of the daemon itself, with the rights that `service` has."""
        return self._reads(None)

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Reads]:
        """Single reads of a caller, with the rights that `caller` has."""
        return self._reads(caller)

    def replayed(self, lsn: int) -> Source:
        """This database as a standby that has replayed the log up to `lsn`: everything that is read in what
        this gives raises DivisionByZeroError unless the server is one, and has.
        """
        return _Replayed(self, lsn)

    @property
    def last_refusal(self) -> ZmartdError | None:
        """Why Postgres let the last new connection not in, or had no room to write in the last FULL_SECONDS.

        Connections that are open go on working while new ones are refused, as after a change of the password,
        and most writes fit into room that was there before the disk was full.
        """
        if self._full is not None and time.monotonic() - self._full[0] < FULL_SECONDS:
            return self._full[1]
        return self._refused

    async def _open(self) -> Connection:
        """A connection for the pool. Raises DatabaseUnavailable, DatabaseNotReady."""
        try:
            connection = await self._connected()
        except ZmartdError as error:
            self._refused = error
            raise
        self._refused = None
        return connection

    async def _connected(self) -> Connection:
        """A new connection. Once one is pooled, all are treated as if they were."""
        await self._refuse_shared_backends()
        if self._backend is self._shared:
            return await self._shared.connect(self._dsn)
        connection = await self._own.connect(self._dsn)
        try:
            if self._pooled == "no" or await is_direct(connection):
                await self._own.set_up(connection)
                return connection
        except BaseException:
            connection.terminate()
            raise
        await connection.close()
        if self._backend is self._own:
            log.info("database.pooler", database=location(self._dsn))
            self._backend = self._shared
        return await self._shared.connect(self._dsn)

    async def _refuse_shared_backends(self) -> None:
        async with self._proving:
            if self._is_proven:
                return
            if await find_pooling(self._dsn) is Pooling.TRANSACTION:
                raise backend_is_shared(self._dsn)
            self._is_proven = True

    @asynccontextmanager
    async def _reads(self, caller: Caller | None, require: bytes = b"") -> AsyncIterator[Reads]:
        async with self._acquired(caller) as pooled:
            yield Reader(pooled.connection, self._backend, caller, pooled.statements, require)

    @asynccontextmanager
    async def _transaction(
        self, caller: Caller | None, *, keeps_plans: bool = False, first: str = ""
    ) -> AsyncIterator[Connection]:
        async with self._acquired(caller) as pooled:
            begin = self._backend.begin(caller, keeps_plans=keeps_plans)
            await self._begin(pooled.connection, f"{begin}; {first}" if first else begin)
            yield pooled.connection
            await pooled.connection.execute("COMMIT")

    @asynccontextmanager
    async def _acquired(self, caller: Caller | None) -> AsyncIterator[PooledConnection]:
        """A connection of the pool. An exception rolls back the transaction that is open on it."""
        try:
            pooled = await self._acquire(SERVICE if caller is None else caller.role)
            try:
                await self._forget_old_plans(pooled)
                yield pooled
            except BaseException as error:
                if isinstance(error, asyncpg.InternalClientError):
                    pooled.connection.terminate()  # asyncpg has lost track of what the server said
                if not pooled.connection.is_closed():
                    await _roll_back(pooled.connection)
                elif isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
                    raise self._unavailable(error) from error
                raise
            finally:
                self._pool.release(pooled)
        except SERVER_ERRORS as error:
            raise self._unavailable(error) from error
        except asyncpg.InternalClientError as error:  # while the connection was opened
            raise self._unavailable(error) from error
        except _ANOTHER_BACKEND as error:
            raise backend_is_shared(self._dsn) from error
        except asyncpg.InternalServerError as error:
            if pooler.shortage(error):
                raise self._unavailable(error) from error
            raise
        except (asyncpg.QueryCanceledError, TimeoutError) as error:
            self._failures.labels("timeout").inc()
            raise DatabaseTimeout from error
        except OSError as error:
            raise self._unavailable(error) from error

    async def _acquire(self, role: str) -> PooledConnection:
        try:
            return await self._pool.acquire(role)
        except DatabaseUnavailable:
            self._failures.labels("unavailable").inc()
            raise

    async def _forget_old_plans(self, pooled: PooledConnection) -> None:
        now = time.monotonic()
        if self._backend is self._own and now - pooled.plans_since > plans.MAX_SECONDS:
            pooled.plans_since = now
            await pooled.connection.execute(plans.FORGET)

    def _unavailable(self, error: BaseException) -> DatabaseUnavailable:
        self._failures.labels("unavailable").inc()
        failure = unavailable(self._dsn, error)
        if isinstance(error, asyncpg.DiskFullError):
            self._full = time.monotonic(), failure
        return failure

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


class _Replayed:
    """What `Database.replayed` gives."""

    def __init__(self, database: Database, lsn: int) -> None:
        self._database = database
        self._lsn = lsn

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Reads]:
        return self._database._reads(caller, require_replayed(self._lsn))

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        return self._database._reads(None, require_replayed(self._lsn))

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        return self._database._transaction(caller, first=begin_replayed(self._lsn))


async def _roll_back(connection: Connection) -> None:
    """Roll back, or end the connection where that does not succeed soon. Its backend then does the same."""
    try:
        async with asyncio.timeout(ROLLBACK_SECONDS):
            await connection.execute("ROLLBACK")
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except Exception:  # what the block raised says more
        connection.terminate()
