"""How the Postgres server is set, as far as a daemon depends on it."""

from __future__ import annotations

from collections.abc import Mapping

from asyncpg import Connection
from msgspec import Struct

_NAMES = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts")
_READ = """
select current_setting('server_version_num')::int as version,
       current_setting('server_encoding') as encoding,
       pg_is_in_recovery() as is_standby,
       current_setting('default_transaction_read_only') = 'on' as is_read_only,
       current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved_connections,
       (select count(*) from pg_stat_activity
         where backend_type is null or backend_type = 'client backend') as connections,
       array(select current_setting(name) from unnest($1::text[]) as name) as values
"""


class ServerSettings(Struct, frozen=True, kw_only=True):
    """`version` is as 180006 for 18.6; `values` has the settings that are not numbers, by name."""

    version: int
    encoding: str
    is_standby: bool
    is_read_only: bool
    max_connections: int
    reserved_connections: int
    connections: int
    """Of clients, this one included."""
    values: Mapping[str, str]


async def read(connection: Connection) -> ServerSettings:
    row = await connection.fetchrow(_READ, list(_NAMES))
    assert row is not None, "a select without a table gives one row"
    return ServerSettings(**{**dict(row), "values": dict(zip(_NAMES, row["values"], strict=True))})
