"""`zmartd migrate --plan`: which tables the pending migrations lock, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.migration_sql import Effect, Lock, Work, directive, effects
from zmartd.store.postgres.migrations import CONTRACT, SQL_DIRECTORY, STEPS, Migration, connected, pending

_MICROSECONDS: Final = 1e6
_ROWS = """
select case when space.nspname = 'public' then '' else space.nspname || '.' end || relation.relname as name,
       greatest(relation.reltuples, stats.n_live_tup, 0)::bigint as rows
  from pg_class as relation
  join pg_namespace as space on space.oid = relation.relnamespace
  left join pg_stat_user_tables as stats on stats.relid = relation.oid
 where space.nspname in ('public', 'zmartd') and relation.relkind in ('r', 'p')
"""


class PlannedLock(Struct, frozen=True):
    """One table that a pending migration locks."""

    table: str
    """`?`: what the migration does can only be read by a person."""
    lock: str
    """The strongest lock, as PostgreSQL calls it."""
    rows: int
    """About how many the table has."""
    seconds: float
    """About how long the migration reads or writes them."""


class PlannedMigration(Struct, frozen=True):
    """What a pending migration would do to tables that are there."""

    name: str
    locks: tuple[PlannedLock, ...]
    contract: str | None
    """Why daemons of the release before do not work with it; None: they do."""


async def plan(dsn: str, directory: Path = SQL_DIRECTORY) -> tuple[PlannedMigration, ...]:
    """What `migrate` would do. Changes nothing. Raises what `pending` raises."""
    waiting = await pending(dsn, directory)
    async with connected(dsn) as connection:
        rows = await _rows(connection)
    return tuple(planned(migration, rows) for migration in waiting)


def planned(migration: Migration, rows: Mapping[str, int]) -> PlannedMigration:
    """The plan of one migration, with the rows of each table."""
    in_steps = directive(migration.sql, STEPS)
    steps = [Effect(in_steps, Lock.ROW_EXCLUSIVE, Work.STEPS)] if in_steps else []
    found = sorted([*effects(migration.sql), *steps], key=lambda effect: effect.table)
    return PlannedMigration(
        migration.name,
        tuple(
            _lock(table, list(of_table), rows.get(table, 0))
            for table, of_table in groupby(found, key=lambda effect: effect.table)
        ),
        directive(migration.sql, CONTRACT),
    )


def _lock(table: str, found: Sequence[Effect], rows: int) -> PlannedLock:
    strongest = max((effect.lock for effect in found), key=lambda lock: lock.strength)
    microseconds = sum(effect.work.value for effect in found) * rows
    return PlannedLock(table, strongest.value, rows, microseconds / _MICROSECONDS)


async def _rows(connection: Connection) -> dict[str, int]:
    return {row["name"]: row["rows"] for row in await connection.fetch(_ROWS)}
