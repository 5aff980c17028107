"""Revocations of sessions and nonces, in Postgres, where neither eviction nor a restart loses them.

Every use of a credential reads them, so a revocation holds on all daemons at once. While Postgres is away, no
credential is accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from zmartd.clock import Clock
from zmartd.http.auth.tokens import LEEWAY_SECONDS
from zmartd.http.errors.auth import SessionsUnavailable
from zmartd.store import revocations
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable

TIMEOUT_SECONDS = 2.0
"""How long a request waits for the revocations of its session."""
RETENTION_MARGIN_SECONDS = 3 * LEEWAY_SECONDS
"""How long a revocation is kept after what it revokes has expired: that is believed for one leeway longer, by
a clock that may be another one behind Postgres's, by which it is deleted."""


class _Batch:
    """Names that one query looks up, and the task that runs it."""

    __slots__ = ("names", "task")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.task: asyncio.Task[Mapping[str, int]]


class Revocations:
    """Stores and finds revocations. Every method raises SessionsUnavailable while Postgres is away.

    `find` runs one query at a time. Calls that arrive meanwhile share the next one, so that any number of
    requests take one connection.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = asyncio.Lock()
        self._next: _Batch | None = None

    async def revoke(self, name: str, before: int, until: float) -> bool:
        """Revoke all that has `name` and a number below `before`. None of it is valid after `until`.

        Returns whether this call changed anything. `until`: unix seconds.
        """
        ends_at = _utc(max(self._clock.time(), until) + RETENTION_MARGIN_SECONDS)
        with _translated_errors():
            async with self._database.service() as connection:
                return await revocations.revoke(connection, name, before, ends_at)

    async def find(self, *names: str) -> Mapping[str, int]:
        """The number below which each of `names` is revoked, read after this call.

        Names without a revocation are left out; the result may have names that others asked for.
        """
        batch = self._next
        if batch is None:
            batch = self._next = _Batch()
            batch.task = asyncio.create_task(self._find_batch(batch), name="revocations")
            _retrieve_exception(batch.task)
        batch.names.update(names)
        return await asyncio.shield(batch.task)

    async def _find_batch(self, batch: _Batch) -> Mapping[str, int]:
        async with self._lock:
            self._next = None  # later calls belong to the next batch
            return await self.find_many(batch.names, TIMEOUT_SECONDS)

    async def find_many(self, names: Collection[str], timeout_seconds: float) -> Mapping[str, int]:
        """`find` many names with a query of their own."""
        query = asyncio.create_task(self._query(names), name="revocations query")
        _retrieve_exception(query)
        done, _ = await asyncio.wait({query}, timeout=timeout_seconds)
        if not done:
            query.cancel()  # not awaited: the connection may take longer to give up
            raise SessionsUnavailable
        return query.result()

    async def _query(self, names: Collection[str]) -> Mapping[str, int]:
        with _translated_errors():
            async with self._database.service_reader() as connection:
                return await revocations.find(connection, names)


def _retrieve_exception(task: asyncio.Task[Mapping[str, int]]) -> None:
    """Keep asyncio from reporting an exception as never retrieved when nobody waits any more."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Turns the errors of a database that is away into SessionsUnavailable."""
    try:
        yield
    except (DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady) as error:
        raise SessionsUnavailable from error
