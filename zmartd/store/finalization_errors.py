"""Failed attempts to move markets on: the error, how many there were, and when the next one is due.

All of these take a service transaction.
"""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

FIRST_PAUSE_SECONDS = 300
LONGEST_PAUSE_SECONDS = 86_400

_COLUMNS = """
select market_id, task, error_code, error_message, attempt_count, next_attempt_at, resolution_proposed_at,
       created_at, updated_at
  from market_finalization_errors
"""
_FIND = _COLUMNS + "where resolved_at is null and market_id = $1"
_RECORD = """
insert into market_finalization_errors as known
       (market_id, task, error_code, error_message, resolution_proposed_at, next_attempt_at)
select markets.id, $2, $3, $4, markets.resolution_proposed_at, $5::timestamptz + make_interval(secs => $6)
  from markets where markets.id = $1
on conflict (market_id) where resolved_at is null do update
   set task = excluded.task, error_code = excluded.error_code, error_message = excluded.error_message,
       attempt_count = known.attempt_count + 1,
       next_attempt_at = $5::timestamptz
           + make_interval(secs => least($6 * 2 ^ least(known.attempt_count, 30), $7))
"""
_RESOLVE = """
update market_finalization_errors set resolved_at = $2, resolved_by = $3
 where market_id = $1 and resolved_at is null
"""
_RESOLVE_FINISHED = """
update market_finalization_errors as failed set resolved_at = $1, resolved_by = 'auto'
  from markets
 where markets.id = failed.market_id and markets.state in ('FINALIZED', 'CANCELLED')
   and failed.resolved_at is null
"""


class FinalizationError(Struct, frozen=True):
    """A market's unresolved failure, of which there is at most one."""

    market_id: str
    task: str
    error_code: str
    error_message: str
    attempt_count: int
    next_attempt_at: datetime
    resolution_proposed_at: datetime | None
    created_at: datetime
    updated_at: datetime


async def record(
    connection: Connection, market_id: str, *, task: str, error_code: str, error_message: str, now: datetime
) -> FinalizationError:
    """Record a failed attempt. The pause before the next one doubles each time, from 5 minutes to a day."""
    await connection.execute(
        _RECORD,
        market_id,
        task,
        error_code,
        error_message,
        now,
        float(FIRST_PAUSE_SECONDS),
        float(LONGEST_PAUSE_SECONDS),
    )
    row = await connection.fetchrow(_FIND, market_id)
    assert row is not None, "a row that was just written"
    return _error(row)


async def resolve(connection: Connection, market_id: str, resolved_by: str, now: datetime) -> None:
    """Mark a market's failure as resolved. `resolved_by` names a task or says that an admin decided."""
    await connection.execute(_RESOLVE, market_id, now, resolved_by)


async def resolve_finished(connection: Connection, now: datetime) -> None:
    """Mark the failures of finalized and cancelled markets as resolved."""
    await connection.execute(_RESOLVE_FINISHED, now)


def _error(row: Record) -> FinalizationError:
    return FinalizationError(**dict(row))
