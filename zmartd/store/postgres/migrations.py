"""Applies the numbered migrations in `sql/` to a database."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.errors import SERVER_ERRORS, location, unavailable
from zmartd.store.postgres.migration_sql import directive, statements
from zmartd.store.postgres.rls import SERVICE

SQL_DIRECTORY = Path(__file__).resolve().parents[2] / "sql"
"""The migrations are package data; in a checkout this is a link to the top-level `sql/`."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_CONNECT_SECONDS = 10.0
_TAKE_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended('zmartd.schema_migrations', 0))"
_BEGIN_TURN = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0"
_HAS_LEDGER = "SELECT to_regclass('zmartd.schema_migrations') IS NOT NULL"
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


LOCK_MILLISECONDS: Final = 100
"""How long a migration waits for a lock. For as long others wait behind it, also those who only read."""
WAIT_SECONDS: Final = 600.0
"""How long a migration tries to get its locks."""
CONCURRENTLY: Final = "concurrently"
STEPS: Final = "steps"
CONTRACT: Final = "contract"
ADDITIVE: Final = "additive"
"""What a file declares with a line like `-- zmartd: concurrently`: that its indexes are built while others
write; with the table whose rows it goes through, that its first statement is run as the service, each time in
a transaction of its own, until it gives false; and, with the reason, that daemons of the release before do
not work with it, or that they do although its statements do not show it."""
_PAUSE_SECONDS: Final = (0.1, 5.0)
"""The first pause between two attempts, and the longest; each is twice as long as the one before."""
_TURN_SECONDS: Final = 0.25
_LIMITS = f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'; SET LOCAL statement_timeout = 0"
_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_INDEX = re.compile(
    r"create (?:unique )?index concurrently if not exists (\w+) on (?:only )?(?:public\.)?\w+ .*"
    r"|drop index concurrently if exists (?:public\.)?\w+",
    re.IGNORECASE | re.DOTALL,
)
_IS_BROKEN = """
SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.' || quote_ident($1))
"""
_RECORD = "INSERT INTO zmartd.schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"

_STEPS_TOLD: Final = 100
"""After so many steps a line tells how many there were."""

T = TypeVar("T")
Tell = Callable[[str], None]
"""Is called with a line about what is waited for."""


class MigrationRefused(ZmartdError):
    """The database's schema was made by other migrations than these."""

    code = "migration_refused"


class MigrationFailed(ZmartdError):
    """A migration did not apply; the database is as before that file, but for steps that it has taken."""

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


async def migrate(
    dsn: str,
    directory: Path = SQL_DIRECTORY,
    *,
    tell: Tell = lambda line: None,
    wait_seconds: float = WAIT_SECONDS,
) -> tuple[Migration, ...]:
    """Apply the missing migrations and return them. Those who do so at the same time wait for each other.

    It can be cancelled at any time: each file is applied as a whole, or not at all. A file whose tables are
    in use is tried again for `wait_seconds`, and waits a moment each time, because others wait behind it.

    Raises MigrationRefused if an applied file has changed or is unknown here, MigrationFailed with Postgres'
    message, DatabaseUnavailable or DatabaseNotReady.
    """
    wanted = all_migrations(directory)
    async with connected(dsn) as turn:
        await _take_turn(turn, location(dsn), tell)
        async with connected(dsn) as connection:
            if not await connection.fetchval(_HAS_LEDGER):
                async with connection.transaction():
                    await connection.execute(_LEDGER)
            missing = _missing(wanted, await _ledger(connection), location(dsn))
            for migration in missing:
                try:
                    await _apply(connection, migration, tell, wait_seconds)
                except asyncpg.PostgresError as error:
                    if isinstance(error, SERVER_ERRORS):
                        raise
                    raise MigrationFailed(
                        f"{migration.name}.sql failed on {location(dsn)}: {error}"
                    ) from error
    return missing


async def pending(dsn: str, directory: Path = SQL_DIRECTORY) -> tuple[Migration, ...]:
    """The migrations that `migrate` would apply.

    Raises what `migrate` raises, and InsufficientPrivilegeError for a login that may not read which are
    applied, neither itself nor as the service.
    """
    wanted = all_migrations(directory)
    async with connected(dsn) as connection:
        try:
            applied = await _applied(connection)
        except asyncpg.InsufficientPrivilegeError:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {SERVICE}")
                applied = await _applied(connection)
        return _missing(wanted, applied, location(dsn))


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    return await _ledger(connection) if await connection.fetchval(_HAS_LEDGER) else {}


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


async def _take_turn(connection: Connection, where: str, tell: Tell) -> None:
    """Wait until nobody else migrates. A transaction has the turn until the connection is closed; it holds no
    snapshot, for which an index that is built concurrently would wait."""
    is_told = False
    while True:
        await connection.execute(_BEGIN_TURN)
        if await connection.fetchval(_TAKE_TURN):
            break
        # Behind a pooler, who waits in a transaction would keep a connection from who works.
        await connection.execute("ROLLBACK")
        if not is_told:
            tell(f"another zmartd migrates {where}: waiting for it")
            is_told = True
        await asyncio.sleep(_TURN_SECONDS)
    # A plain query ends the portal of the one before, which keeps its snapshot.
    await connection.execute("SELECT")


async def _apply(connection: Connection, migration: Migration, tell: Tell, wait_seconds: float) -> None:
    if directive(migration.sql, CONCURRENTLY) is not None:
        await _build(connection, migration, tell)
        return
    sql = migration.sql
    if directive(sql, STEPS) is not None:
        step, *others = statements(sql)
        sql = ";".join(others)
        await _take_steps(connection, migration.name, step, tell, wait_seconds)

    async def work() -> None:
        await connection.execute(sql)
        await connection.execute(_RECORD, migration.number, migration.name, migration.checksum)

    await _patiently(connection, migration.name, work, tell, wait_seconds)


async def _take_steps(connection: Connection, name: str, step: str, tell: Tell, wait_seconds: float) -> None:
    """Do the step as the service until it gives false. Each is committed, so an interrupted one goes on.

    Tables that are filled are analyzed, so that statements are planned for what is in them.
    """

    async def work() -> bool:
        await connection.execute(f"SET LOCAL ROLE {SERVICE}")
        return bool(await connection.fetchval(step))

    taken = 0
    while await _patiently(connection, name, work, tell, wait_seconds):
        taken += 1
        if taken % _STEPS_TOLD == 0:
            tell(f"{name}: {taken} steps")
    if taken:
        await connection.execute("ANALYZE")


async def _patiently(
    connection: Connection, name: str, work: Callable[[], Awaitable[T]], tell: Tell, wait_seconds: float
) -> T:
    """Work in one transaction, again and again while its tables are in use."""
    loop = asyncio.get_running_loop()
    begun, (pause, longest) = loop.time(), _PAUSE_SECONDS
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_LIMITS)
                return await work()
        except _BUSY as error:
            if loop.time() - begun > wait_seconds:
                raise MigrationFailed(
                    f"{name}.sql got no lock within {wait_seconds:.0f} s: other transactions keep its "
                    "tables: look for long ones in pg_stat_activity, and run `zmartd migrate` again"
                ) from error
            tell(f"{name}: its tables are in use, trying again in {pause:.1f} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


async def _build(connection: Connection, migration: Migration, tell: Tell) -> None:
    """Build the indexes of a file without keeping anybody from writing, in no transaction."""
    wanted = statements(migration.sql)
    if not all(map(_INDEX.fullmatch, wanted)):
        raise MigrationRefused(
            f"{migration.name}.sql may only have CREATE INDEX CONCURRENTLY IF NOT EXISTS and DROP INDEX "
            "CONCURRENTLY IF EXISTS, because what is built concurrently is built in no transaction"
        )
    await connection.execute("SET statement_timeout = 0")
    try:
        for statement in wanted:
            name = _INDEX.fullmatch(statement)
            if name is not None and name[1] and await connection.fetchval(_IS_BROKEN, name[1]):
                # Left by an attempt that was interrupted.
                await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS public.{name[1]}")
            tell(f"{migration.name}: {statement.partition(' on ')[0]}")
            await connection.execute(statement)
        await connection.execute(_RECORD, migration.number, migration.name, migration.checksum)
    finally:
        if not connection.is_closed():
            await connection.execute("RESET statement_timeout")


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
