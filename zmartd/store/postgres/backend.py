"""What is sent to the backend, Postgres' server process behind a connection, before a statement.

A backend that belongs to one connection keeps time-outs, prepared statements and their plans (`OwnBackend`).
Behind a transaction pooler the next transaction runs on another backend, and other programs use this one in
between: there each transaction brings its settings along and leaves nothing behind, neither a setting nor a
statement with a name (`SharedBackend`).

The messages that `act` gives are sent directly before a statement, without a Sync between them, so that
Postgres runs both in one implicit transaction: if the role cannot be taken the statement does not run, and
all settings end with it. (Postgres documentation, Frontend/Backend Protocol: Pipelining.) A pooler leaves its
client on one backend until the transaction ends, also until this one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from struct import pack
from typing import TYPE_CHECKING, Any, Protocol

from asyncpg import Connection, Record
from asyncpg.prepared_stmt import PreparedStatement

from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.rls import (
    ANYBODY,
    BEGIN_AS_SERVICE,
    BEGIN_AS_SERVICE_KEEPING_PLANS,
    Caller,
    begin_as,
    settings_of,
)

if TYPE_CHECKING:
    Statement = PreparedStatement[Record]

_CONNECT_SECONDS = 5.0
_NETWORK_SECONDS = 5.0
"""How much longer than the server's statement timeout the client waits, in case the server is gone."""
_IDLE_SECONDS = 60
"""How long a transaction may be idle before Postgres ends it."""
_CALLERS = 4_096
"""For how many callers the messages are kept."""
_AS_TEXT = pack("!h", 0)


class Backend(Protocol):
    """How connections are opened, transactions begun and statements prepared; None is the daemon itself."""

    async def connect(self, dsn: str) -> Connection:
        """A connection that is ready for use. Raises DatabaseUnavailable, DatabaseNotReady."""
        ...

    def begin(self, caller: Caller | None, *, keeps_plans: bool = False) -> str:
        """The statements that open a transaction, for one message."""
        ...

    def act(self, caller: Caller | None, *, keeps_plan: bool = False) -> bytes:
        """The messages that set role, claims and how a statement is planned until the next Sync."""
        ...

    async def prepare(
        self, connection: Connection, query: str, caller: Caller | None, known: dict[str, Statement]
    ) -> Statement:
        """A statement, to be run directly after the messages of `act`.

        `known` are the statements that were prepared on this connection before.
        """
        ...


class OwnBackend:
    """For connections that each have a backend of their own."""

    def __init__(self, statement_timeout_seconds: float, *, read_only: bool = False) -> None:
        self._options = _options(statement_timeout_seconds)
        settings = _settings(statement_timeout_seconds)
        if read_only:
            settings = (*settings, ("default_transaction_read_only", "on"))
        self._set_up = "; ".join([*(f"SET {name} = '{value}'" for name, value in settings), _PREPARE_ACTS])
        self.act = _act_as

    async def connect(self, dsn: str) -> Connection:
        return await _connect(dsn, self._options)

    async def set_up(self, connection: Connection) -> None:
        """To be done once on a connection, when it is certain that its backend is its own."""
        await connection.execute(self._set_up)

    def begin(self, caller: Caller | None, *, keeps_plans: bool = False) -> str:
        if caller is not None:
            return begin_as(caller)
        return BEGIN_AS_SERVICE_KEEPING_PLANS if keeps_plans else BEGIN_AS_SERVICE

    async def prepare(
        self, connection: Connection, query: str, caller: Caller | None, known: dict[str, Statement]
    ) -> Statement:
        """No round trip, except the first time."""
        if (statement := known.get(query)) is None:
            send(connection, self.act(caller))  # the login itself may lack the rights to parse the statement
            statement = known[query] = await connection.prepare(query)
        return statement


class SharedBackend:
    """For connections whose transactions may each run on another backend."""

    def __init__(self, statement_timeout_seconds: float, *, read_only: bool = False) -> None:
        # Without its cache asyncpg gives statements no names, and parses them again whenever they run.
        self._options = _options(statement_timeout_seconds) | {"statement_cache_size": 0}
        self._settings = _settings(statement_timeout_seconds)
        if read_only:
            self._settings = (*self._settings, ("transaction_read_only", "on"))
        self._begin = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in self._settings)
        self.act = lru_cache(_CALLERS)(self._act)

    async def connect(self, dsn: str) -> Connection:
        return await _connect(dsn, self._options)

    def begin(self, caller: Caller | None, *, keeps_plans: bool = False) -> str:
        """No statement outlives its transaction here, so that none keeps a plan."""
        return (BEGIN_AS_SERVICE if caller is None else begin_as(caller)) + self._begin

    async def prepare(
        self, connection: Connection, query: str, caller: Caller | None, known: dict[str, Statement]
    ) -> Statement:
        """One round trip: nobody says when the columns of a statement have changed, so it is described anew.

        The first time it takes a transaction, because asyncpg changes a setting of the backend while it looks
        up a type that is new to it.
        """
        if query not in known:
            await connection.execute(self.begin(caller))
            known[query] = await connection.prepare(query)
            await connection.execute("ROLLBACK")
        send(connection, self.act(caller))
        return await connection.prepare(query)

    def _act(self, caller: Caller | None, *, keeps_plan: bool = False) -> bytes:
        settings = [*settings_of(caller, keeps_plan=False), *self._settings]
        parse = f"\0{_set_locally(*(name for name, _ in settings))}\0".encode() + pack("!h", 0)
        return _message(b"P", parse) + _run("", [value for _, value in settings])


def require_replayed(lsn: int) -> bytes:
    """The messages that end the transaction with DivisionByZeroError unless this is a standby that has
    replayed so much.
    """
    parse = f"\0{_REPLAYED}\0".encode() + pack("!h", 0)
    return _message(b"P", parse) + _run("", [f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"])


def begin_replayed(lsn: int) -> str:
    """The same as a statement."""
    return _REPLAYED.replace("$1", f"'{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}'")


_REPLAYED = """
select where 1 / (pg_is_in_recovery() and coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false))::int < 0
"""
"""Checked on the connection that is about to read: a URL may lead to one of several replicas, each of which
may be promoted or fall behind at any time. It returns no row, as what is sent before a statement must not.
"""


def _set_locally(*names: str) -> str:
    """The statement that gives these settings the values $1, $2, … until the transaction ends.

    It must return no row, and Postgres evaluates HAVING after the aggregates, whose arguments set everything.
    """
    counts = (f"count(set_config('{name}', ${place}, true))" for place, name in enumerate(names, 1))
    return f"select having {' + '.join(counts)} < 0"


def _act_name(caller: Caller | None, *, keeps_plan: bool) -> str:
    return f"zmartd_act_as_{'service' if caller is None else 'caller'}{'_keeping_plan' if keeps_plan else ''}"


def _prepare_act(caller: Caller | None, *, keeps_plan: bool) -> str:
    names = [name for name, _ in settings_of(caller, keeps_plan=keeps_plan)]
    types = ", ".join("text" for _ in names)
    return f"prepare {_act_name(caller, keeps_plan=keeps_plan)} ({types}) as {_set_locally(*names)}"


_PREPARE_ACTS = "; ".join(
    _prepare_act(caller, keeps_plan=keeps_plan) for caller in (ANYBODY, None) for keeps_plan in (False, True)
)


@lru_cache(_CALLERS)
def _act_as(caller: Caller | None, *, keeps_plan: bool = False) -> bytes:
    """The messages that run what _PREPARE_ACTS has prepared."""
    values = [value for _, value in settings_of(caller, keeps_plan=keeps_plan)]
    return _run(_act_name(caller, keeps_plan=keeps_plan), values)


def send(connection: Connection, messages: bytes) -> None:
    """Send messages of which asyncpg knows nothing; it ignores the answers, as it does all it does not await.

    The Sync follows with what asyncpg sends next; no other task can send in between.
    """
    connection._transport.write(messages)  # type: ignore[attr-defined]  # not public


def _run(statement: str, values: Sequence[str]) -> bytes:
    """The messages Bind and Execute of a prepared statement."""
    arguments = [value.encode() for value in values]
    parameters = b"".join(pack("!i", len(value)) + value for value in arguments)
    bind = f"\0{statement}\0".encode() + _AS_TEXT + pack("!h", len(arguments)) + parameters + _AS_TEXT
    return _message(b"B", bind) + _message(b"E", b"\0" + pack("!i", 0))


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + pack("!i", len(content) + 4) + content


def _settings(statement_timeout_seconds: float) -> tuple[tuple[str, str], ...]:
    return (
        ("statement_timeout", f"{int(statement_timeout_seconds * 1_000)}ms"),
        ("idle_in_transaction_session_timeout", f"{_IDLE_SECONDS}s"),
        ("timezone", "UTC"),
        # Nothing is compiled, which takes half a second, for statements that end within milliseconds without.
        # Not by `jit` itself, which asyncpg changes for a while.
        ("jit_above_cost", "-1"),
    )


def _options(statement_timeout_seconds: float) -> dict[str, Any]:
    return {
        "timeout_seconds": _CONNECT_SECONDS,
        "command_timeout": statement_timeout_seconds + _NETWORK_SECONDS,
    }


async def _connect(dsn: str, options: dict[str, Any]) -> Connection:
    connection = await connect(dsn, **options)
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_decoded_numeric, format="text"
    )
    return connection


def _decoded_numeric(text: str) -> int | Decimal:
    """A NUMERIC without decimals (lamports, shares) as int, one with decimals (prices) as Decimal."""
    return Decimal(text) if "." in text else int(text)
