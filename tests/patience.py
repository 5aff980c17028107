"""Settings for tests that are not about time: right on a machine that is many times slower."""

from __future__ import annotations

from zmartd.config import DatabaseSettings
from zmartd.config_values import PostgresUrl

SECONDS = 300.0


def patient_database(
    url: str, pool_size: int = 5, statement_timeout_seconds: float = SECONDS
) -> DatabaseSettings:
    """A pool that waits for the database however slow the machine is."""
    return DatabaseSettings(
        url=PostgresUrl(url),
        pool_size=pool_size,
        statement_timeout_seconds=statement_timeout_seconds,
        acquire_seconds=SECONDS,
    )
