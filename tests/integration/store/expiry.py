"""Rows that expire, as the task deletes them."""

from __future__ import annotations

from typing import Any

from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.store.postgres.database import Database
from zmartd.store.retention import ExpiringRows, expiring_rows


def rules(table: str | None = None, **retention: Any) -> list[ExpiringRows]:
    """What expires, of one table or of all, with these settings of `[retention]` and the default ones."""
    found = expiring_rows(
        retention=config.RetentionSettings(**retention),
        transactions=config.TransactionSettings(),
        markets=config.MarketSettings(),
        realtime=config.RealtimeSettings(),
        alerts=AlertSettings(),
    )
    return [one for one in found if table in (None, one.table)]


async def delete_expired(database: Database, table: str, **retention: Any) -> int:
    """Delete all that has expired of a table; how many rows."""
    deleted = 0
    for rule in rules(table, **retention):
        bite = rule.bite
        while bite == rule.bite:
            async with database.service() as connection:
                bite = await rule.delete(connection)
            deleted += bite
    return deleted
