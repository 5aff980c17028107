"""Single reads on somebody's behalf, each in one round trip.

A transaction of `Database.caller` takes three: BEGIN with the caller's role and claims, the statement, and
COMMIT. Here role and claims are sent right ahead of the statement, without a Sync of their own, so that
Postgres takes both for one implicit transaction: where acting for the caller fails the statement is not run,
and when the statement ends, so do the role and the claims. (Postgres, Frontend/Backend Protocol: Pipelining.)
asyncpg has no words for this, but lets answers pass that it does not wait for: `_send_act` relies on that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from struct import pack
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from asyncpg import Connection, Record
from asyncpg.prepared_stmt import PreparedStatement

from zmartd.store.postgres.rls import SERVICE, Caller

if TYPE_CHECKING:
    Statement = PreparedStatement[Record]

Result = TypeVar("Result")

# No row of it may be among the statement's own, and HAVING is asked after the aggregates are worked out.
_ACT = """
select having count(set_config('role', $1, true)) + count(set_config('request.jwt.claims', $2, true)) < 0
"""
_ACT_NAME = "zmartd_act"
_AS_TEXT = pack("!h", 0)


@lru_cache(maxsize=4_096)
def act_as(caller: Caller) -> bytes:
    """The messages Bind and Execute that take the caller's role and claims until the next Sync."""
    return _act_as(caller.role, caller.claims)


def _act_as(*settings: str) -> bytes:
    arguments = [value.encode() for value in settings]
    values = b"".join(pack("!i", len(value)) + value for value in arguments)
    bind = f"\0{_ACT_NAME}\0".encode() + _AS_TEXT + pack("!h", len(arguments)) + values + _AS_TEXT
    return _message(b"B", bind) + _message(b"E", b"\0" + pack("!i", 0))


class Reading:
    """What may be read over one connection on behalf of whoever `act` names; each statement sees the newest
    commit for itself.

    It has the names of a Connection's methods, for the store's functions that ask one thing.
    """

    __slots__ = ("_act", "_connection", "_statements")

    def __init__(self, connection: Connection, act: bytes, statements: Statements) -> None:
        self._connection = connection
        self._act = act
        self._statements = statements

    async def fetch(self, query: str, *arguments: Any) -> list[Record]:
        return await self._run(PreparedStatement.fetch, query, arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Record | None:
        return await self._run(PreparedStatement.fetchrow, query, arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._run(PreparedStatement.fetchval, query, arguments)

    async def _run(
        self, ask: Callable[..., Awaitable[Result]], query: str, arguments: tuple[Any, ...]
    ) -> Result:
        statement = self._statements.get(query) or await self._prepare(query)
        try:
            self._send_act()
            return await ask(statement, *arguments)
        except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
            # A migration changed what the statement gives; it was not run.
            self._statements.forget()
            statement = await self._prepare(query)
            self._send_act()
            return await ask(statement, *arguments)

    async def _prepare(self, query: str) -> Statement:
        await self._statements.prepare_act()
        self._send_act()  # the login itself may not even know the names in the statement
        return await self._statements.prepare(query)

    def _send_act(self) -> None:
        """What asyncpg sends next, before anything else can run, brings the Sync."""
        self._connection._transport.write(self._act)  # type: ignore[attr-defined]  # not public


class Statements:
    """What one connection has prepared for reading."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._act: Statement | None = None
        self._prepared: dict[str, Statement] = {}

    def get(self, query: str) -> Statement | None:
        return self._prepared.get(query)

    async def prepare(self, query: str) -> Statement:
        statement = self._prepared[query] = await self._connection.prepare(query)
        return statement

    async def prepare_act(self) -> None:
        """The statement that `act_as` names has to be there before its messages are sent."""
        if self._act is None:
            self._act = await self._connection.prepare(_ACT, name=_ACT_NAME)

    def forget(self) -> None:
        self._prepared.clear()


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + pack("!i", len(content) + 4) + content


ACT_AS_SERVICE = _act_as(SERVICE, "")
"""The same for the daemon itself, which has no claims."""
