"""Settings for tests that are not about time: right on a machine that is many times slower."""

from __future__ import annotations

from zmartd.config import DatabaseSettings
from zmartd.config_values import PostgresUrl

SECONDS = 300.0


def patient_database(url: str, pool_size: int = 5) -> DatabaseSettings:
    """A pool in which queries wait for a connection, and end, however slow the machine is."""
    return DatabaseSettings(
        url=PostgresUrl(url),
        pool_size=pool_size,
        acquire_seconds=SECONDS,
        statement_timeout_seconds=SECONDS,
    )
