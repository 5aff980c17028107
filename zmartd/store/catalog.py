"""What Postgres's catalogue and statistics say of tables and indexes. All take a connection of the login."""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

_INDEXES = """
select relation.relname as name, statistics.relname as table_name, indisvalid as is_valid,
       indisunique as is_unique, pg_relation_size(relation.oid) as bytes,
       coalesce(uses.idx_scan, 0) as scans,
       coalesce(extract(epoch from now() - (
           select stats_reset from pg_stat_database where datname = current_database()
       )), 1e9)::float8 as counted_seconds
  from pg_index join pg_class as relation on relation.oid = indexrelid
  join pg_stat_user_tables as statistics on statistics.relid = indrelid
  left join pg_stat_user_indexes as uses using (indexrelid)
 where statistics.schemaname = 'public'
 order by name
"""
_BLOATED = """
select relname as name, n_dead_tup as dead, n_live_tup as live from pg_stat_user_tables
 where schemaname = 'public' and n_dead_tup > $1 and n_dead_tup > $2 * (n_dead_tup + n_live_tup)
 order by n_dead_tup desc
"""
_OPEN = """
select relname as name from pg_class
 where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
   and exists (select from pg_roles where rolname in ('anon', 'authenticated')
                  and has_any_column_privilege(pg_roles.oid, pg_class.oid, 'SELECT, INSERT, UPDATE'))
 order by name
"""
_AGE = "select max(age(datfrozenxid))::bigint from pg_database where datname = current_database()"
_SIZE = "select pg_database_size(current_database())"


class Index(Struct, frozen=True):
    name: str
    table_name: str
    is_valid: bool
    is_unique: bool
    bytes: int
    scans: int
    counted_seconds: float
    """For how long uses have been counted."""


class Bloat(Struct, frozen=True):
    """A table with rows that are gone and still take room."""

    name: str
    dead: int
    live: int


async def indexes(connection: Connection) -> list[Index]:
    return [Index(**dict(row)) for row in await connection.fetch(_INDEXES)]


async def bloated(connection: Connection, *, more_than: int, part: float) -> list[Bloat]:
    """Tables with more dead rows than this, and of which more than this part of the rows is dead."""
    return [Bloat(**dict(row)) for row in await connection.fetch(_BLOATED, more_than, part)]


async def open_tables(connection: Connection) -> list[str]:
    """Tables without row level security that callers may read or write."""
    return [row["name"] for row in await connection.fetch(_OPEN)]


async def transactions_since_freeze(connection: Connection) -> int:
    """How many transactions ago the oldest row was written that is not frozen; Postgres stops at 2^31."""
    return int(await connection.fetchval(_AGE))


async def size(connection: Connection) -> int:
    """Bytes of the database on the server's disk."""
    return int(await connection.fetchval(_SIZE))
