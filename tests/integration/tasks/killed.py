"""A coroutine that is killed at an await, as a process is: no cleanup of it runs after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from asyncpg import Connection

from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.database import Database

Result = TypeVar("Result")

_KEPT: list[object] = []
"""What was killed, so that Python does not run its cleanup."""


class Killed(BaseException):
    """It was killed."""


async def killed_at(work: Coroutine[Any, Any, Result], awaits: int) -> Result:
    """The result of `work`. Raises Killed as soon as it waits for something for this many-th time.

    It has a task of its own: what it has started may still cancel the task that waited for it.
    """

    async def until_killed() -> Result | Killed:
        try:
            return await _KilledAt(work, awaits)
        except Killed as killed:
            return killed

    ended = await asyncio.create_task(until_killed())
    if isinstance(ended, Killed):
        raise ended
    return ended


class _KilledAt(Generic[Result]):
    def __init__(self, work: Coroutine[Any, Any, Result], awaits: int) -> None:
        self._work = work
        self._awaits = awaits

    def __await__(self) -> Generator[Any, Any, Result]:
        iterator = self._work.__await__()
        for _ in range(self._awaits):
            try:
                waited_for = next(iterator)
            except StopIteration as end:
                result: Result = end.value
                return result
            # A future that fails raises in the work, as it would without this.
            yield waited_for
        _KEPT.extend((iterator, self._work))
        raise Killed


class Sockets(Database):
    """A pool whose connections all end with their process, whatever they are used for."""

    opened: list[Connection]

    async def _open(self) -> Connection:
        connection = await super()._open()
        self.opened = [*getattr(self, "opened", ()), connection]
        return connection


@asynccontextmanager
async def pool(database_url: str) -> AsyncIterator[Database]:
    """Connections of a daemon that is killed: they are cut at the end of the block."""
    database = await Sockets.connect(config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=3))
    yield database
    database._pool.terminate()
    for connection in database.opened:
        connection.terminate()
