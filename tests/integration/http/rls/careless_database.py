"""A database through which every query has lost its WHERE."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from asyncpg import Connection

from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller

_WHERE = re.compile(r"\bwhere\b", re.IGNORECASE)


def without_where(statement: str) -> str:
    """The statement with conditions that always hold. Its parameters keep their places and their types."""
    return _WHERE.sub("where true or", statement)


class CarelessConnection:
    """What store functions use of a connection, forgetting every WHERE on the way."""

    def __init__(self, connection: Connection, forget: Callable[[str], str]) -> None:
        self._connection = connection
        self._forget = forget

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        return await self._connection.fetch(self._forget(statement), *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        return await self._connection.fetchrow(self._forget(statement), *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        return await self._connection.fetchval(self._forget(statement), *arguments)

    async def execute(self, statement: str, *arguments: Any) -> Any:
        return await self._connection.execute(self._forget(statement), *arguments)


class CarelessDatabase(Database):
    """Forgets the WHEREs of what it does for callers, and only of that: what a caller is told about sums
    over private rows is counted by the service role.

    `forgotten` says how many there were.
    """

    def __init__(self, real: Database) -> None:
        self._real = real
        self.forgotten = 0

    def service(
        self, *, keeps_plans: bool = False, first: str = ""
    ) -> AbstractAsyncContextManager[Connection]:
        return self._real.service(keeps_plans=keeps_plans, first=first)

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        return self._real.service_reader()

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Any]:
        return self._careless(self._real.caller(caller))

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Any]:
        return self._careless(self._real.reader(caller))

    @asynccontextmanager
    async def _careless(self, transaction: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        async with transaction as connection:
            yield CarelessConnection(connection, self._forget_where)

    def _forget_where(self, statement: str) -> str:
        careless = without_where(statement)
        self.forgotten += careless != statement
        return careless


class UnprotectedDatabase(CarelessDatabase):
    """Forgets the WHEREs, and has no policies to make up for it."""

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Any]:
        return self._careless(self._real.service())

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Any]:
        return self._careless(self._real.service())
