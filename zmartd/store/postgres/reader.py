"""Single reads in a role, each in one round trip, or in two behind a transaction pooler.

A transaction of `Database.caller` takes three: BEGIN with the caller's role and claims, the statement, and
COMMIT. A `Reader` sends role and claims together with the statement, as `backend` explains.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg
from asyncpg import Connection, Record
from asyncpg.prepared_stmt import PreparedStatement

from zmartd.store.postgres.backend import Backend, send
from zmartd.store.postgres.plans import is_kept
from zmartd.store.postgres.rls import Caller

if TYPE_CHECKING:
    from zmartd.store.postgres.backend import Statement

Result = TypeVar("Result")


class Reads(Protocol):
    """What a function of the store needs that only reads: a `Reader`, or an asyncpg Connection."""

    async def fetch(self, query: str, *args: Any) -> list[Record]: ...

    async def fetchrow(self, query: str, *args: Any) -> Record | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...


class Reader:
    """Reads over one connection as `caller`, or as the daemon itself. Each sees the newest commits."""

    __slots__ = ("_backend", "_caller", "_connection", "_require", "_statements")

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        caller: Caller | None,
        statements: dict[str, Statement],
        require: bytes = b"",
    ) -> None:
        """`statements` keeps what readers prepare on this connection. `require`: messages that each read is
        sent after, and does not run if they fail.
        """
        self._connection = connection
        self._backend = backend
        self._caller = caller
        self._require = require
        self._statements = statements

    async def fetch(self, query: str, *args: Any) -> list[Record]:
        return await self._run(PreparedStatement.fetch, query, args)

    async def fetchrow(self, query: str, *args: Any) -> Record | None:
        return await self._run(PreparedStatement.fetchrow, query, args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._run(PreparedStatement.fetchval, query, args)

    async def _run(
        self, fetch: Callable[..., Awaitable[Result]], query: str, args: tuple[Any, ...]
    ) -> Result:
        try:
            return await fetch(await self._prepared(query), *args)
        except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
            # A migration changed the statement's columns; it has not run.
            self._statements.clear()
            return await fetch(await self._prepared(query), *args)

    async def _prepared(self, query: str) -> Statement:
        """The statement; role, claims and how it is planned are on their way."""
        statement = await self._backend.prepare(self._connection, query, self._caller, self._statements)
        act = self._backend.act(self._caller, keeps_plan=is_kept(query))
        send(self._connection, act + self._require)
        return statement
