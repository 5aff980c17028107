"""A pool of connections to one Postgres database, each lent for one transaction at a time.

asyncpg's own pool does not serve here: it invalidates the prepared statements that `Reader` needs whenever a
connection comes back, one pool for each role would divide `database.pool_size` in fixed parts, and it costs
more processor time.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg import Connection
from msgspec import Struct

if TYPE_CHECKING:
    from zmartd.store.postgres.backend import Statement

MAX_AGE_SECONDS: Final = 3_600.0
"""A connection older than this is replaced. Its backend caches plans and catalog entries and never
frees them, and it stays with one server after a failover or a change of DNS.
"""
MAX_PASSED_OVER: Final = 50
"""How many later tasks may get a connection before the one that has waited longest."""
_ANYTHING = select.POLLIN | select.POLLHUP | select.POLLERR
_CLOSE_SECONDS = 1.0
_CLOSE_FAILURES = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What may happen while a server that is gone is told goodbye. The connection is closed all the same."""


class PooledConnection:
    """A connection, when it was opened, the role that used it last, what readers have prepared on it, and how
    old the plans may be that it keeps.
    """

    __slots__ = ("_poll", "connection", "opened_at", "plans_since", "role", "statements")

    def __init__(self, connection: Connection, opened_at: float, role: str) -> None:
        self.connection = connection
        self.opened_at = opened_at
        self.plans_since = opened_at
        self.role = role
        self.statements: dict[str, Statement] = {}
        self._poll = select.poll()
        self._poll.register(connection._transport.get_extra_info("socket"), _ANYTHING)  # type: ignore[attr-defined]

    @property
    def is_quiet(self) -> bool:
        """Whether the server has sent nothing that nobody has asked for, while the connection was idle.

        Such is, as a rule, that it has closed it, and the event loop has not seen that yet.
        """
        return not self._poll.poll(0)


class PoolSize(Struct, frozen=True):
    """How many connections of a pool are idle and in use, how many it may open, and how many wait for one."""

    idle: int
    in_use: int
    most: int
    waiting: int


class _Waiter(Struct, eq=False):
    role: str
    granted: asyncio.Future[PooledConnection | None]


class ConnectionPool:
    """At most `size` connections, opened on demand and kept for later transactions.

    Postgres caches the plan of a statement under row level security for one role and plans it again for
    another. So a connection goes to the role that used it last where possible: from those that are idle, and
    to those who wait.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        size: int,
        acquire_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`acquire_seconds` is how long `acquire` waits while all connections are in use."""
        self._connect = connect
        self._size = size
        self._acquire_seconds = acquire_seconds
        self._monotonic = monotonic
        self._open = 0
        self._idle: dict[str, list[PooledConnection]] = {}
        self._waiting: deque[_Waiter] = deque()
        self._passed_over = 0
        self._closing = False
        self._retired_at = float("-inf")

    def size(self) -> PoolSize:
        """What is so now. Connections that are being opened are in use. Any thread may ask."""
        idle = sum(map(len, list(self._idle.values())))
        waiting = sum(not waiter.granted.done() for waiter in self._waiting.copy())
        return PoolSize(idle, max(0, self._open - idle), self._size, waiting)

    async def acquire(self, role: str) -> PooledConnection:
        """A connection outside of any transaction, to be used in `role` and then released.

        Raises TimeoutError when all of them stay in use, asyncpg.InterfaceError when the pool is closed, and
        whatever `connect` raises.
        """
        if self._closing:
            raise asyncpg.InterfaceError("the pool is closed")
        pooled = self._take_idle(role)
        if pooled is None and self._open >= self._size:
            pooled = self._take_any_idle()
        if pooled is None and self._open < self._size:
            self._open += 1
            pooled = await self._connected(role)
        if pooled is None:
            pooled = await self._wait(role)
        if pooled.opened_at < max(self._retired_at, self._monotonic() - MAX_AGE_SECONDS):
            pooled = await self._replace(pooled, role)
        pooled.role = role
        return pooled

    def release(self, pooled: PooledConnection) -> None:
        """Take a connection back. One that is inside a transaction is closed."""
        connection = pooled.connection
        if not connection.is_closed() and connection.is_in_transaction():
            connection.terminate()
        if connection.is_closed():
            self._give_up_place()
        elif not self._grant(pooled):
            self._idle.setdefault(pooled.role, []).append(pooled)

    def retire(self) -> None:
        """Replace all connections that are open, each when it is used the next time."""
        self._retired_at = self._monotonic()

    async def close(self) -> None:
        """Close all connections, those in use when they are released."""
        self._closing = True
        while (pooled := self._take_any_idle()) is not None or self._open:
            if pooled is None:
                pooled = await self._next_released("")
            self._open -= 1
            if pooled is not None:
                with suppress(*_CLOSE_FAILURES):
                    await pooled.connection.close(timeout=_CLOSE_SECONDS)

    def terminate(self) -> None:
        """Close the idle connections at once, without telling the server."""
        self._closing = True
        while (pooled := self._take_any_idle()) is not None:
            self._open -= 1
            pooled.connection.terminate()

    async def _connected(self, role: str) -> PooledConnection:
        """A new connection in a place that is counted in `_open` already."""
        try:
            return PooledConnection(await self._connect(), self._monotonic(), role)
        except BaseException:
            self._give_up_place()
            raise

    async def _replace(self, old: PooledConnection, role: str) -> PooledConnection:
        try:
            with suppress(*_CLOSE_FAILURES):
                await old.connection.close(timeout=_CLOSE_SECONDS)
        except BaseException:
            self.release(old)
            raise
        return await self._connected(role)

    def _take_idle(self, role: str) -> PooledConnection | None:
        idle = self._idle.get(role)
        while idle:
            pooled = idle.pop()
            if not pooled.connection.is_closed():
                if pooled.is_quiet:
                    return pooled
                pooled.connection.terminate()
            self._open -= 1
        return None

    def _take_any_idle(self) -> PooledConnection | None:
        for role in self._idle:
            pooled = self._take_idle(role)
            if pooled is not None:
                return pooled
        return None

    async def _wait(self, role: str) -> PooledConnection:
        async with asyncio.timeout(self._acquire_seconds):
            pooled = await self._next_released(role)
        return pooled or await self._connected(role)

    async def _next_released(self, role: str) -> PooledConnection | None:
        """The next connection that is released, or None: the place of one that was closed."""
        waiter = _Waiter(role, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            return await waiter.granted
        except BaseException:
            if waiter.granted.done() and not waiter.granted.cancelled():
                pooled = waiter.granted.result()
                self._give_up_place() if pooled is None else self.release(pooled)
            raise

    def _give_up_place(self) -> None:
        if not self._grant(None):
            self._open -= 1

    def _grant(self, pooled: PooledConnection | None) -> bool:
        """Give a connection, or with None the place of one, to a task that waits, if there is one."""
        waiter = self._next_waiter(None if pooled is None else pooled.role)
        if waiter is None:
            return False
        waiter.granted.set_result(pooled)
        return True

    def _next_waiter(self, role: str | None) -> _Waiter | None:
        """The first that waits in this role, unless the first of all has been passed over often enough."""
        waiting = self._waiting
        while waiting and waiting[0].granted.done():
            waiting.popleft()
        if role is not None and self._passed_over < MAX_PASSED_OVER:
            for number, waiter in enumerate(waiting):
                if waiter.role == role and not waiter.granted.done():
                    self._passed_over = self._passed_over + 1 if number else 0
                    del waiting[number]
                    return waiter
        self._passed_over = 0
        return waiting.popleft() if waiting else None
