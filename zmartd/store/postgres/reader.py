"""Single reads in a role, each in one round trip.

A transaction of `Database.caller` takes three: BEGIN with the caller's role and claims, the statement, and
COMMIT. A `Reader` sends role and claims directly before the statement, without a Sync between them, so that
Postgres runs both in one implicit transaction: if the role cannot be taken the statement does not run, and
role and claims end with it. (Postgres documentation, Frontend/Backend Protocol: Pipelining.) asyncpg has no
call for this, but ignores answers that it does not wait for; `Reader._send_act` relies on that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from struct import pack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg
from asyncpg import Connection, Record
from asyncpg.prepared_stmt import PreparedStatement

from zmartd.store.postgres.rls import SERVICE, Caller

if TYPE_CHECKING:
    Statement = PreparedStatement[Record]

Result = TypeVar("Result")

_ACT_AS_CALLER, _ACT_AS_SERVICE = "zmartd_act_as_caller", "zmartd_act_as_service"
# They must return no row, and Postgres evaluates HAVING after the aggregates, whose arguments set everything.
PREPARE_ACTS = f"""
prepare {_ACT_AS_CALLER} (text, text) as
select having count(set_config('role', $1, true)) + count(set_config('request.jwt.claims', $2, true)) < 0;
prepare {_ACT_AS_SERVICE} (text, text) as
select having count(set_config('role', $1, true)) + count(set_config('plan_cache_mode', $2, true)) < 0
"""
"""To be executed once on every connection, before readers use it."""
_AS_TEXT = pack("!h", 0)


class Reads(Protocol):
    """What a function of the store needs that only reads: a `Reader`, or an asyncpg Connection."""

    async def fetch(self, query: str, *args: Any) -> list[Record]: ...

    async def fetchrow(self, query: str, *args: Any) -> Record | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...


@lru_cache(maxsize=4_096)
def act_as(caller: Caller) -> bytes:
    """The messages Bind and Execute that set the caller's role and claims until the next Sync."""
    return _act_as(_ACT_AS_CALLER, caller.role, caller.claims)


def _act_as(name: str, *settings: str) -> bytes:
    arguments = [value.encode() for value in settings]
    values = b"".join(pack("!i", len(value)) + value for value in arguments)
    bind = f"\0{name}\0".encode() + _AS_TEXT + pack("!h", len(arguments)) + values + _AS_TEXT
    return _message(b"B", bind) + _message(b"E", b"\0" + pack("!i", 0))


class Reader:
    """Reads over one connection in the role that `act` sets. Each statement sees the newest commits."""

    __slots__ = ("_act", "_connection", "_statements")

    def __init__(self, connection: Connection, act: bytes, statements: dict[str, Statement]) -> None:
        """`statements` keeps what readers prepare on this connection."""
        self._connection = connection
        self._act = act
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
        statement = self._statements.get(query) or await self._prepare(query)
        try:
            self._send_act()
            return await fetch(statement, *args)
        except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
            # A migration changed the statement's columns; it has not run.
            self._statements.clear()
            statement = await self._prepare(query)
            self._send_act()
            return await fetch(statement, *args)

    async def _prepare(self, query: str) -> Statement:
        self._send_act()  # the login itself may lack the rights to parse the statement
        statement = self._statements[query] = await self._connection.prepare(query)
        return statement

    def _send_act(self) -> None:
        """The Sync follows with what asyncpg sends next; no other task can send in between."""
        self._connection._transport.write(self._act)  # type: ignore[attr-defined]  # not public


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + pack("!i", len(content) + 4) + content


ACT_AS_SERVICE = _act_as(_ACT_AS_SERVICE, SERVICE, "force_custom_plan")
"""The same messages for the daemon itself, with plans as in BEGIN_AS_SERVICE."""
