"""Rows that are needed for a time only: which, of what age, and how they are deleted, a few at a time.

Each is declared once. What is not here is kept for ever, or goes with what it belongs to. Ages are by
Postgres's clock. They are deleted by where they are, which Postgres looks up whatever it takes the
table for. Nothing depends on rows being gone in time: who reads them looks at their times, too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.store.postgres.reader import Reads

PROMPTED_KEPT: Final = timedelta(days=2)
"""A due market that has not moved prompts a run every five minutes at least, or waits for a day."""
DAEMONS_KEPT: Final = timedelta(hours=2)
"""Longer than the hour over which restarts count."""
EXPIRED_KEPT: Final = timedelta(days=1)
"""What says itself when it expires, by the clock of another machine, is deleted so much later."""

_DELETE = """
delete from {table} where ctid = any(array(
    select ctid from {table} as old where {expired} order by {order} limit $2 for update of old skip locked
))
"""
_DELETE_OLDEST = """
delete from {table} where ctid = any(array(
    select ctid from (select ctid, {expired} as is_expired from {table} as old
                       order by {order} limit $2) as oldest
     where is_expired
))
"""
BY_INDEX: Final = "set local enable_seqscan = off"
"""Says, in a transaction, that an index finds the rows: Postgres may take a table for smaller than it is."""
_IS_ANY = "select exists (select from {table} as old where {expired})"
_IS_OLDEST = "select {expired} from {table} as old order by {order} limit 1"


class ExpiringRows(Struct, frozen=True, kw_only=True):
    """Rows of one table that are deleted after a time."""

    table: str
    keep: timedelta
    """How long after their time they are kept."""
    expired: str
    """SQL, true of a row `old` that is to go; $1 is `keep`."""
    order: str
    """The columns of an index, which finds those rows, unless the table is small."""
    came_in_order: bool = False
    """Whether those rows are the first in that order, and no index finds them: others are not looked at."""
    bite: int = 1_000
    """The most rows that one transaction deletes, so that none takes long."""

    async def delete(self, connection: Connection) -> int:
        """Delete a bite; how many rows there were. Fewer than `bite`: all have gone, for now.

        Rows that others have locked stay. Takes a service transaction.
        """
        await connection.execute(BY_INDEX)
        done: str = await connection.execute(self.statement, self.keep, self.bite)
        return int(done.removeprefix("DELETE "))

    async def are_overdue(self, connection: Reads, by: timedelta) -> bool:
        """Whether there is a row that was to go so long ago. Takes a service reader."""
        statement = self._filled(_IS_OLDEST if self.came_in_order else _IS_ANY)
        return bool(await connection.fetchval(statement, self.keep + by))

    @property
    def statement(self) -> str:
        """The SQL that deletes a bite: $1 is `keep`, $2 is `bite`."""
        return self._filled(_DELETE_OLDEST if self.came_in_order else _DELETE)

    def _filled(self, template: str) -> str:
        return template.format(table=self.table, expired=self.expired, order=self.order)


def expiring_rows(
    *,
    retention: config.RetentionSettings,
    transactions: config.TransactionSettings,
    markets: config.MarketSettings,
    realtime: config.RealtimeSettings,
    alerts: AlertSettings,
) -> tuple[ExpiringRows, ...]:
    """All that expire by these settings; what they keep for ever is not among them."""
    found = [
        ExpiringRows(
            table="stream_messages",
            keep=timedelta(seconds=realtime.history_seconds),
            expired="created_at < now() - $1::interval",
            order="committed_by",
            came_in_order=True,
            bite=2_000,
        ),
        ExpiringRows(
            table="webhook_inbox",
            keep=timedelta(days=retention.inbox_days),
            # The newest says when something came last.
            expired="status = 'done' and settled_at < now() - $1::interval"
            " and id < (select max(id) from webhook_inbox)",
            order="settled_at",
        ),
        ExpiringRows(
            table="outbox_transactions",
            keep=timedelta(days=transactions.keep_days),
            # One that is not in the index yet keeps another one for the same purpose from being sent.
            expired="""
                status <> 'pending' and settled_at < now() - $1::interval
                and (status <> 'landed'
                     or not exists (select from transaction_intents as intent
                                      left join markets on markets.id = intent.market_id
                                     where intent.signature = old.signature
                                       and (markets.slot is null or markets.slot < old.slot)))
            """,
            order="settled_at",
        ),
        ExpiringRows(
            table="idempotency_keys",
            keep=timedelta(0),
            expired="expires_at < now() - $1::interval",
            order="expires_at",
        ),
        ExpiringRows(
            table="task_runs",
            keep=timedelta(days=retention.quiet_runs_days),
            expired="eventful = false and finished_at < now() - $1::interval",
            order="finished_at",
        ),
        ExpiringRows(
            table="task_runs",
            keep=timedelta(days=retention.runs_days),
            expired="eventful = true and finished_at < now() - $1::interval",
            order="finished_at",
        ),
        ExpiringRows(
            table="prompted_moments",
            keep=PROMPTED_KEPT,
            expired="again_at < now() - $1::interval",
            order="again_at",
        ),
        ExpiringRows(
            table="market_finalization_errors",
            keep=timedelta(days=retention.failures_days),
            expired="resolved_at < now() - $1::interval",
            order="resolved_at",
        ),
        ExpiringRows(
            table="revocations",
            keep=EXPIRED_KEPT,
            expired="expires_at < now() - $1::interval",
            order="expires_at",
        ),
        ExpiringRows(
            table="market_metadata",
            keep=timedelta(days=markets.keep_pending_days),
            expired="appeared_at is null and created_at < now() - $1::interval",
            order="created_at",
        ),
        ExpiringRows(
            table="alerts",
            keep=timedelta(days=alerts.keep_days),
            expired="resolved_at < now() - $1::interval",
            order="resolved_at",
        ),
        ExpiringRows(
            table="daemons",
            keep=DAEMONS_KEPT,
            expired="seen_at < now() - $1::interval",
            order="seen_at",
        ),
    ]
    if retention.orphaned_days:
        found.append(
            ExpiringRows(
                table="orphaned_events",
                keep=timedelta(days=retention.orphaned_days),
                expired="orphaned_at < now() - $1::interval",
                order="id",
                came_in_order=True,
            )
        )
    return tuple(found)
