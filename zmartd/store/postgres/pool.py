"""Open connections to one database, lent for a transaction at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg
from asyncpg import Connection


class Connections:
    """At most `size` connections, opened when they are needed and kept for the next transaction.

    Postgres plans a statement under row level security for one role, and anew when the role has changed. So a
    connection is lent for the role that it was last used in, as long as there is one or room for one.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, patience_seconds: float
    ) -> None:
        self._connect = connect
        self._size = size
        self._patience_seconds = patience_seconds
        self._open = 0
        self._idle: dict[str, list[Connection]] = {}
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closing = False

    async def take(self, role: str) -> Connection:
        """A connection outside of any transaction; give it back.

        Raises TimeoutError when all of them stay in use, and what connecting raises.
        """
        if self._closing:
            raise asyncpg.InterfaceError("the connections are closed")
        connection = self._idle_in(role)
        if connection is not None:
            return connection
        if self._open < self._size:
            return await self._opened()
        for other in self._idle:
            connection = self._idle_in(other)
            if connection is not None:
                return connection
        if self._open < self._size:  # what looked idle had been lost
            return await self._opened()
        return await self._next_free() or await self._opened()

    def give_back(self, connection: Connection, role: str) -> None:
        """Take a connection back after a transaction in `role`. One in the middle of something is closed."""
        if not connection.is_closed() and connection.is_in_transaction():
            connection.terminate()
        if connection.is_closed():
            self._open -= 1
            self._hand_on(None)
        elif not self._hand_on(connection):
            self._idle.setdefault(role, []).append(connection)

    async def close(self) -> None:
        """Close them all, those in use when they come back."""
        self._closing = True
        while self._open:
            connection = self._any_idle()
            if connection is None and self._open:
                connection = await self._promised()
            if connection is not None:
                self._open -= 1
                await connection.close()

    def terminate(self) -> None:
        """Drop the idle ones without a word."""
        self._closing = True
        while (connection := self._any_idle()) is not None:
            self._open -= 1
            connection.terminate()

    async def _opened(self) -> Connection:
        self._open += 1
        try:
            return await self._connect()
        except BaseException:
            self._open -= 1
            self._hand_on(None)
            raise

    def _idle_in(self, role: str) -> Connection | None:
        idle = self._idle.get(role)
        while idle:
            connection = idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        return None

    def _any_idle(self) -> Connection | None:
        for role in self._idle:
            connection = self._idle_in(role)
            if connection is not None:
                return connection
        return None

    async def _next_free(self) -> Connection | None:
        async with asyncio.timeout(self._patience_seconds):
            return await self._promised()

    async def _promised(self) -> Connection | None:
        """The next connection that comes back, or None with the right to open one; in turn."""
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on(turn.result())
            raise

    def _pass_on(self, connection: Connection | None) -> None:
        if not self._hand_on(connection) and connection is not None:
            self._idle.setdefault("", []).append(connection)

    def _hand_on(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False
