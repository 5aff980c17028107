"""A streaming replica of the database, from which reads are done that it has replayed enough for.

Nothing depends on it. It is connected to when something may be read there; while it is away, behind, promoted
or of another database, the primary answers, and reads come back to it by themselves. No reader waits for one
that is known to be away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

import asyncpg
import msgspec
from asyncpg import Connection

from zmartd import config
from zmartd.clock import Clock
from zmartd.config_values import PostgresUrl
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store.postgres import wal_position
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable, location
from zmartd.store.postgres.pool import PoolSize
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.replica_errors import (
    PositionUnknown,
    ReplicaBehind,
    ReplicaConflict,
    ReplicaSlow,
    ReplicaUnusable,
)
from zmartd.store.postgres.rls import Caller
from zmartd.store.postgres.sources import Source
from zmartd.store.postgres.wal_position import PrimaryLog, WalPosition

PATIENCE_SECONDS: Final = 0.1
"""How long a read waits for the replica to replay what it has to see."""
LOOK_SECONDS: Final = 1.0
"""How long what a look at the replica has found is believed, and how long a look may take by default."""
RETRY_SECONDS: Final = 0.05
"""The time between two looks while it is behind and nobody waits."""
READ_SECONDS: Final = 2.0
"""How long a read may take there. Then the primary is asked: the replica may hang."""
POLL_SECONDS: Final = 0.005
"""The time between two looks while somebody waits."""
BACK_OFF_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""How long after a look that failed the next one begins: then, and for each that fails after it."""

FAILURES: Final = Counter(
    "zmartd_replica_failures",
    "Uses of the replica that failed because of it, by what was wrong; the primary answered.",
    ["reason"],
)
for _reason in ("timeout", "unavailable"):
    FAILURES.labels(_reason)

_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What a standby says to a read that stands in the way of its replay (Postgres documentation: Handling Query
Conflicts)."""
_URL, _REPLICA_URL = "database.url", "database.replica_url"

Opened = TypeVar("Opened", Reads, Connection)

log = get_logger(__name__)


class Replica:
    """The replica of `database.replica_url`, if there is one, and how far it is behind the primary."""

    def __init__(
        self,
        settings: config.DatabaseSettings,
        clock: Clock,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """It connects when it is used."""
        self._patience_seconds = patience_seconds
        self._look_seconds = look_seconds
        self.read_seconds = read_seconds
        self._primary = Database(msgspec.structs.replace(settings, pool_size=1))
        """For the position of its log alone: who reads from a replica waits for no connection of the pool."""
        self.log = PrimaryLog(self._primary, clock)
        """The primary's log. Whoever tells somebody of what is committed says so to it."""
        self._clock = clock
        self._where = ""
        self._database: Database | None = None
        self._looking: asyncio.Task[None] | None = None
        self._replayed: WalPosition | None = None
        self._looked_at = float("-inf")
        self._missed: WalPosition | None = None
        """What a reader has waited for in vain. Until it is replayed, none waits."""
        self._problem: ZmartdError | None = None
        self._failures = 0
        self._open(settings)

    @property
    def is_configured(self) -> bool:
        return self._database is not None

    @property
    def lag_bytes(self) -> int | None:
        """How much of the log was not replayed at the last look; None where nothing is known of that."""
        if self._database is None or self.log.newest is None or self._replayed is None:
            return None
        return max(0, self.log.newest.lsn - self._replayed.lsn)

    async def lead_to(self, settings: config.DatabaseSettings) -> None:
        """Read from the replica of these settings from now on, or from none; `url` is that of its primary."""
        former = self._database
        self._primary.lead_to(settings)
        self._open(settings)
        self.log.announced()
        self.doubt()
        self._missed = self._problem = None
        self._failures = 0
        if former is not None:
            await former.close()

    def _open(self, settings: config.DatabaseSettings) -> None:
        url = settings.replica_url.reveal()
        self._where = location(url) if url else ""
        self._database = None
        if url:
            mine = msgspec.structs.replace(settings, url=PostgresUrl(url))
            self._database = Database(mine, read_only=True, failures=FAILURES)

    def doubt(self) -> None:
        """Believe nothing that looks have found, but what was wrong."""
        self._looked_at = float("-inf")

    def pool_size(self) -> PoolSize:
        """How many connections there are to it. Any thread may ask."""
        return PoolSize(0, 0, 0, 0) if self._database is None else self._database.pool_size()

    async def close(self) -> None:
        """Close all connections, waiting for reads that are running."""
        await self.log.close()
        await self._primary.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        if self._database is not None:
            await self._database.close()

    async def source(self, own: WalPosition | None = None) -> Source:
        """Where to read what has everything that was announced, and the caller's own `own`.

        Raises ReplicaUnusable where that is the primary.
        """
        if self._database is None:
            raise ReplicaUnusable
        try:
            async with asyncio.timeout(self._look_seconds):
                wanted = await self.log.floor()
        except ReplicaUnusable:
            raise
        except (ZmartdError, asyncpg.PostgresError, TimeoutError) as error:
            raise PositionUnknown from error
        if own is not None and not wanted.covers(own):
            if not own.is_of_history(wanted):
                raise PositionUnknown
            wanted = own
        await self._reach(wanted)
        return _Watched(self, self._database.replayed(wanted.lsn))

    async def require_usable(self) -> None:
        """Check that it is a replica that keeps up. Returns where none is configured.

        Raises ReplicaUnusable, which says what is wrong, and what `PrimaryLog.present` raises.
        """
        if self._database is None:
            return
        wanted = await self.log.present()
        try:
            async with asyncio.timeout(self._look_seconds / 2):
                await self._until_replayed(wanted)
        except TimeoutError as error:
            behind = f" {self.lag_bytes} bytes of the log" if self.lag_bytes else ""
            raise ReplicaBehind(
                f"the replica at {self._where} is behind{behind}, so that the primary answers for it"
            ) from error

    async def _reach(self, wanted: WalPosition) -> None:
        """Return once the replica has replayed `wanted`. Raises ReplicaUnusable where that is not soon."""
        age = self._clock.monotonic() - self._looked_at
        if self._problem is not None:
            if age > BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS)) - 1]:
                self._look()
            raise ReplicaUnusable(self._problem.message)
        if self._replayed is not None and age <= LOOK_SECONDS and self._replayed.covers(wanted):
            return
        if self._missed is not None:
            if self._replayed is None or not self._replayed.covers(self._missed):
                if age > RETRY_SECONDS:
                    self._look()
                raise ReplicaBehind
            self._missed = None
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._until_replayed(wanted)
        except TimeoutError as error:
            self._missed = wanted
            raise ReplicaBehind from error

    async def _until_replayed(self, wanted: WalPosition) -> None:
        """Look until `wanted` is replayed. Raises ReplicaUnusable."""
        while True:
            await asyncio.shield(self._look())
            if self._problem is not None:
                raise ReplicaUnusable(self._problem.message)
            if self._replayed is not None and self._replayed.covers(wanted):
                return
            await self._clock.sleep(POLL_SECONDS)

    def _look(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one."""
        if self._looking is None:
            self._looked_at = self._clock.monotonic()
            self._looking = asyncio.create_task(self._find(), name="look at the replica")
        return self._looking

    async def _find(self) -> None:
        """Find how far the replica is. Raises nothing."""
        assert self._database is not None, "nobody looks at none"
        try:
            async with asyncio.timeout(self._look_seconds), self._database.service_reader() as connection:
                found = await wal_position.replayed(connection)
        except (ZmartdError, asyncpg.PostgresError, TimeoutError) as error:
            self._fail(self._away(error))
        else:
            if found is None:
                self._fail(
                    ReplicaUnusable(
                        f"Postgres at {self._where} is no standby, or was promoted: let {_REPLICA_URL} "
                        f"lead to a replica of {_URL}"
                    )
                )
            else:
                self._found(found)
        finally:
            self._looking = None

    def _found(self, position: WalPosition) -> None:
        newest = self.log.newest
        if newest is not None and not position.is_of_history(newest):
            self._replayed = None
            self._fail(self._foreign(position, newest))
            return
        if self._problem is not None:
            log.info("replica.usable", replica=self._where)
        self._replayed, self._problem, self._failures = position, None, 0

    def _fail(self, problem: ZmartdError) -> None:
        """Read nothing there until a look finds it well."""
        if self._problem is None or self._problem.message != problem.message:
            log.warning("replica.unusable", replica=self._where, reason=problem.message)
        self._problem = problem
        self._failures += 1
        self._looked_at = self._clock.monotonic()

    def _away(self, error: BaseException) -> ReplicaUnusable:
        if isinstance(error, TimeoutError) or not str(error):
            return ReplicaUnusable(f"the replica at {self._where} does not answer")
        text = (
            error.message if isinstance(error, ZmartdError) else f"SQLSTATE {getattr(error, 'sqlstate', '?')}"
        )
        return ReplicaUnusable(f"the replica: {text.replace(_URL, _REPLICA_URL)}")

    def _foreign(self, found: WalPosition, primary: WalPosition) -> ReplicaUnusable:
        if (found.system, found.database) != (primary.system, primary.database):
            return ReplicaUnusable(
                f"Postgres at {self._where} is no replica of this database: let {_REPLICA_URL} lead to one "
                f"of {_URL}"
            )
        return ReplicaUnusable(
            f"the replica at {self._where} is on timeline {found.timeline}, and the primary on "
            f"{primary.timeline}: after a failover let it follow the new primary; it knows that it does "
            "after a restart point, which CHECKPOINT makes there at once"
        )


class _Watched:
    """Reads of a replica, with what went wrong as ReplicaUnusable."""

    def __init__(self, replica: Replica, source: Source) -> None:
        self._replica = replica
        self._source = source

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Reads]:
        return self._watched(self._source.reader(caller))

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        return self._watched(self._source.service_reader())

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        return self._watched(self._source.caller(caller))

    @asynccontextmanager
    async def _watched(self, opening: AbstractAsyncContextManager[Opened]) -> AsyncIterator[Opened]:
        try:
            async with asyncio.timeout(self._replica.read_seconds), opening as opened:
                yield opened
        except asyncpg.DivisionByZeroError as error:
            raise ReplicaBehind from error
        except _CONFLICTS as error:
            raise ReplicaConflict from error
        except (TimeoutError, DatabaseTimeout) as error:
            self._replica.doubt()
            raise ReplicaSlow from error
        except (DatabaseUnavailable, DatabaseNotReady) as error:
            problem = self._replica._away(error)
            self._replica._fail(problem)
            raise problem from error
