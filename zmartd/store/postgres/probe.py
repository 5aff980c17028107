"""Whether Postgres takes writes."""

from __future__ import annotations

from datetime import datetime

from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.postgres.reader import Reads

_PROBE = """
select clock_timestamp() as now, pg_is_in_recovery() as is_standby,
       current_setting('transaction_read_only')::boolean as is_read_only,
       case when not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean
            then pg_logical_emit_message(true, 'zmartd', '') end as written
"""
"""The message goes to the write-ahead log, and the commit waits for it as that of any change: no table has to
be there, and none grows. Nobody receives it who has not asked for messages."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes no writes; try again in a moment."""


async def require_writes(connection: Reads) -> datetime:
    """The time by Postgres's clock, once it has written something down.

    Raises DatabaseReadOnly.
    """
    row = await connection.fetchrow(_PROBE)
    assert row is not None, "a select without a table has a row"
    if row["is_standby"]:
        raise DatabaseReadOnly(
            "Postgres takes no writes, because it is a standby: let database.url lead to the primary"
        )
    if row["is_read_only"]:
        raise DatabaseReadOnly(
            "Postgres takes no writes (default_transaction_read_only is on): its host may have set that "
            "because its disk is nearly full"
        )
    now: datetime = row["now"]
    return now
