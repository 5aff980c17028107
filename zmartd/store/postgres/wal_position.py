"""Positions in the primary's write-ahead log: what a replica has replayed up to one, can be read there."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
from asyncpg import Record
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.replica_errors import PositionUnknown
from zmartd.store.postgres.rls import SERVICE
from zmartd.store.postgres.sources import Source

STALE_SECONDS: Final = 1.0
"""What was committed longer ago is in every answer from the replica, also where nothing announced it."""

_WRITTEN = """
with written as (
    select case when pg_is_in_recovery() then null
                when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()
                else pg_current_wal_flush_lsn() end as lsn)
select (select system_identifier from pg_control_system()) as system,
       (select oid::int8 from pg_database where datname = current_database()) as database,
       ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int as timeline,
       (lsn - '0/0')::int8 as lsn
  from written where lsn is not null
"""
"""A commit is seen once it is flushed, or, where that is not waited for, once it is inserted."""
_REPLAYED = """
select (select system_identifier from pg_control_system()) as system,
       (select oid::int8 from pg_database where datname = current_database()) as database,
       (select timeline_id from pg_control_checkpoint()) as timeline,
       (pg_last_wal_replay_lsn() - '0/0')::int8 as lsn
 where pg_is_in_recovery()
"""
"""A standby knows its timeline from its last restart point: that may be of before a failover."""


class WalPosition(Struct, frozen=True):
    """How far the log has come. Positions can be compared in one history of one database alone."""

    system: int
    """The system identifier, which a physical replica has from its primary."""
    database: int
    """The OID of the database, which is the same there."""
    timeline: int
    """The timeline: each promotion begins another one."""
    lsn: int
    """The byte of the log, as a number."""

    def covers(self, other: WalPosition) -> bool:
        """Whether everything up to `other` is also up to this one."""
        return self.is_of_history(other) and self.lsn >= other.lsn

    def is_of_history(self, other: WalPosition) -> bool:
        """Whether both are positions in one log."""
        return (self.system, self.database, self.timeline) == (other.system, other.database, other.timeline)


async def written(connection: Reads) -> WalPosition | None:
    """The position up to which a primary has everything that is committed; None where it is a standby."""
    return _position(await connection.fetchrow(_WRITTEN))


async def replayed(connection: Reads) -> WalPosition | None:
    """The position up to which a standby has replayed the log; None where it is none, or none any more."""
    return _position(await connection.fetchrow(_REPLAYED))


def _position(row: Record | None) -> WalPosition | None:
    if row is None or row["lsn"] is None:
        return None
    return WalPosition(row["system"], row["database"], row["timeline"], row["lsn"])


class PrimaryLog:
    """How far the primary's log has come, asked for as seldom as those who read allow.

    One question is under way at a time, whoever wants to know, and none is asked for a position that an
    earlier answer covers.
    """

    def __init__(self, primary: Source, clock: Clock) -> None:
        self._primary = primary
        self._clock = clock
        self._begun = 0
        """The number of questions so far; `_answered` is that of the last that was answered."""
        self._answered = 0
        self._wanted = 1
        """The number of the first question that may answer for what was announced last."""
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._newest: WalPosition | None = None

    @property
    def newest(self) -> WalPosition | None:
        """The last one that is known, however old."""
        return self._newest

    def announced(self) -> None:
        """Something that is committed has been told to somebody, or is about to be."""
        self._wanted = self._begun + 1

    async def floor(self) -> WalPosition:
        """A position with everything that was announced before this call, or committed STALE_SECONDS ago.

        Raises what `Source` raises, and PositionUnknown.
        """
        if self._clock.monotonic() - self._asked_at > STALE_SECONDS:
            return await self.present()
        return await self._answer(self._wanted)

    async def present(self) -> WalPosition:
        """A position with everything that was committed before this call. Raises what `floor` raises."""
        return await self._answer(self._begun + 1)

    async def close(self) -> None:
        """Ask nothing more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _answer(self, number: int) -> WalPosition:
        while self._answered < number or self._newest is None:
            if self._asking is None:
                self._begun += 1
                self._asking = asyncio.create_task(self._ask(self._begun), name="position of the primary")
                # If nobody waits any more, asyncio must not report an error as never retrieved.
                self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(self._asking)
        return self._newest

    async def _ask(self, number: int) -> None:
        began_at = self._clock.monotonic()
        try:
            async with self._primary.service_reader() as connection:
                found = await written(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise PositionUnknown(
                "how far the primary has come cannot be read: as an administrator of it run "
                f"GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO {SERVICE}"
            ) from error
        finally:
            self._asking = None
        if found is None:
            raise PositionUnknown("database.url leads to a standby, which writes no log of its own")
        self._newest, self._answered, self._asked_at = found, number, began_at
