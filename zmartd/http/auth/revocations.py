"""What has been revoked, on all daemons. It is in Postgres, where no full or lost cache can undo it.

Postgres is asked about every credential each time, so a revocation holds on every daemon as soon as it is
made. When Postgres cannot be asked, nobody is recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from zmartd.clock import Clock
from zmartd.http.errors.auth import SessionsUnavailable
from zmartd.store import revocations
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable

PATIENCE_SECONDS = 2.0
"""For so long a request waits to learn whether its session has ended."""
KEPT_LONGER_SECONDS = 60
"""For so much longer than its object can be valid a revocation is kept, since clocks may differ."""


class _Question:
    """Names that are asked about at once, and the answer."""

    __slots__ = ("answer", "names")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.answer: asyncio.Task[Mapping[str, int]]


class Revocations:
    """Every method raises SessionsUnavailable when Postgres cannot be asked.

    There is one question under way at a time, and all who ask meanwhile share the next one: however many
    requests come, they take one connection for it.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turn = asyncio.Lock()
        self._next: _Question | None = None

    async def revoke(self, name: str, before: int, until: float) -> bool:
        """Refuse what goes by `name` and is numbered below `before`; none of it is valid after `until`.

        Whether this call, and none before it, did that.
        """
        now = self._clock.time()
        with _database_needed():
            async with self._database.service() as connection:
                return await revocations.revoke(
                    connection, name, before, _moment(now), _moment(max(now, until) + KEPT_LONGER_SECONDS)
                )

    async def of(self, *names: str) -> Mapping[str, int]:
        """Below which number each of `names` is refused, at some time after this was called.

        Those by which nothing is revoked are left out; names that others asked about may be there as well.
        """
        question = self._next
        if question is None:
            question = self._next = _Question()
            question.answer = asyncio.create_task(self._answer(question), name="revocations")
            _leave(question.answer)
        question.names.update(names)
        return await asyncio.shield(question.answer)

    async def _answer(self, question: _Question) -> Mapping[str, int]:
        async with self._turn:
            self._next = None  # whoever comes from now on belongs to the next one
            return await self.read(question.names, PATIENCE_SECONDS)

    async def read(self, names: Collection[str], patience_seconds: float) -> Mapping[str, int]:
        """`of` many names, with a question of their own."""
        reading = asyncio.create_task(self._read(names), name="revocations read")
        _leave(reading)
        done, _ = await asyncio.wait({reading}, timeout=patience_seconds)
        if not done:
            reading.cancel()  # the connection may take longer to give up, and nobody waits for that
            raise SessionsUnavailable
        return reading.result()

    async def _read(self, names: Collection[str]) -> Mapping[str, int]:
        with _database_needed():
            async with self._database.service_reader() as connection:
                return await revocations.find(connection, names)


def _leave(task: asyncio.Task[Mapping[str, int]]) -> None:
    """Let a task end although nobody may be waiting for it any more."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def _database_needed() -> Iterator[None]:
    """Turns a database that cannot be asked into SessionsUnavailable."""
    try:
        yield
    except (DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady) as error:
        raise SessionsUnavailable from error
