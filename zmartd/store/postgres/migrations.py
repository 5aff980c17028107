"""Applies the numbered migrations in `sql/` to a database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.errors import SERVER_ERRORS, location, unavailable

SQL_DIRECTORY = Path(__file__).resolve().parents[2] / "sql"
"""The migrations are package data; in a checkout this is a link to the top-level `sql/`."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_CONNECT_SECONDS = 10.0
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('zmartd.schema_migrations', 0))"
_LEDGER = """
CREATE SCHEMA IF NOT EXISTS zmartd;
CREATE TABLE IF NOT EXISTS zmartd.schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE zmartd.schema_migrations ENABLE ROW LEVEL SECURITY;
"""


class MigrationRefused(ZmartdError):
    """The database's schema was made by other migrations than these."""

    code = "migration_refused"


class MigrationFailed(ZmartdError):
    """A migration did not apply; the database is as it was before that file."""

    code = "migration_failed"


class Migration(Struct, frozen=True):
    """One file, applied once and as a whole, in the order of the numbers. `checksum` is its SHA-256."""

    number: int
    name: str
    sql: str
    checksum: str


def all_migrations(directory: Path = SQL_DIRECTORY) -> tuple[Migration, ...]:
    """All migrations in order. Raises MigrationRefused if a file's name or number is wrong."""
    found: list[Migration] = []
    for file in sorted(directory.glob("*.sql")):
        name = _FILE_NAME.fullmatch(file.name)
        if name is None or int(name[1]) != len(found) + 1:
            raise MigrationRefused(
                f"{file}: migrations are numbered without gaps, and {len(found) + 1:04d}_….sql is next"
            )
        sql = file.read_text(encoding="utf-8")
        found.append(Migration(int(name[1]), file.stem, sql, hashlib.sha256(sql.encode()).hexdigest()))
    if not found:
        raise MigrationRefused(f"{directory} has no migrations: the installation is incomplete")
    return tuple(found)


async def migrate(dsn: str, directory: Path = SQL_DIRECTORY) -> tuple[Migration, ...]:
    """Apply the missing migrations and return them. Daemons that do so at the same time wait for each other.

    Raises MigrationRefused if an applied file has changed or is unknown here, MigrationFailed with Postgres'
    message, DatabaseUnavailable or DatabaseNotReady.
    """
    wanted = all_migrations(directory)
    applied: list[Migration] = []
    async with connected(dsn) as connection:
        while True:
            async with connection.transaction():
                await connection.execute(_LOCK)
                await connection.execute(_LEDGER)
                missing = _missing(wanted, await _ledger(connection), location(dsn))
                if not missing:
                    return tuple(applied)
                await _apply(connection, missing[0], location(dsn))
            applied.append(missing[0])


async def pending(dsn: str, directory: Path = SQL_DIRECTORY) -> tuple[Migration, ...]:
    """The migrations that `migrate` would apply. Raises what `migrate` raises."""
    wanted = all_migrations(directory)
    async with connected(dsn) as connection:
        known = await connection.fetchval("SELECT to_regclass('zmartd.schema_migrations') IS NOT NULL")
        return _missing(wanted, await _ledger(connection) if known else {}, location(dsn))


async def _ledger(connection: Connection) -> dict[int, tuple[str, str]]:
    rows = await connection.fetch("SELECT number, name, checksum FROM zmartd.schema_migrations")
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


def _missing(
    wanted: tuple[Migration, ...], applied: dict[int, tuple[str, str]], where: str
) -> tuple[Migration, ...]:
    known = {migration.number: migration for migration in wanted}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise MigrationRefused(
                f"{where} has migration {name}, which this zmartd does not know: upgrade zmartd"
            )
        if checksum != known[number].checksum:
            raise MigrationRefused(
                f"{known[number].name}.sql differs from the {name}.sql that {where} was made with: restore "
                "the file and put the change into a new migration"
            )
    return tuple(migration for migration in wanted if migration.number not in applied)


async def _apply(connection: Connection, migration: Migration, where: str) -> None:
    try:
        await connection.execute(migration.sql)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{migration.name}.sql failed on {where}: {error}") from error
    await connection.execute(
        "INSERT INTO zmartd.schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.checksum,
    )


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """A connection of its own. Statements get no names, because a transaction pooler may be in between.

    Raises DatabaseUnavailable or DatabaseNotReady.
    """
    connection = await connect(dsn, timeout_seconds=_CONNECT_SECONDS, statement_cache_size=0)
    try:
        yield connection
    except SERVER_ERRORS as error:
        raise unavailable(dsn, error) from error
    finally:
        await connection.close()
