"""`zmartd backup`: a dump in one file, which is read again and counted before it is called a backup."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from asyncpg import Connection
from msgspec import Struct

from zmartd import __version__
from zmartd.config import DatabaseSettings
from zmartd.store.backup.contents import SCHEMAS, count_rows, differences, extensions, role_that_sees_all
from zmartd.store.backup.errors import BackupFailed
from zmartd.store.backup.manifest import Chain, Manifest, manifest_of, sha256_of, write_manifest
from zmartd.store.backup.programs import (
    DUMP,
    RESTORE,
    ProgramFailed,
    Programs,
    find_programs,
    run_program,
    target_of,
)
from zmartd.store.postgres.errors import DatabaseNotReady
from zmartd.store.postgres.migrations import connected
from zmartd.store.postgres.pooling import Pooling, find_pooling

COMPRESSION: Final = 1
"""Of zlib, which every version has: six times as fast as its default, for a tenth more bytes."""
LOCK_MILLISECONDS: Final = 60_000
"""How long a dump waits for a migration that is running."""
_NO_LIMITS = """
select set_config('statement_timeout', '0', false),
       set_config('idle_in_transaction_session_timeout', '0', false)
"""
_DUMPING = re.compile(r'dumping contents of table "(.+)"')
_COPY = re.compile(rb"COPY (\S+) \(.*\) FROM stdin;\n")
_END_OF_COPY: Final = b"\\.\n"

Progress = Callable[[int, int], None]
"""Is called with the rows that are done, and all of them."""


class _Source(Struct, frozen=True):
    """The database in one snapshot."""

    snapshot: str
    created_at: datetime
    role: str | None
    server: int
    schema: int
    checkpoint_slot: int | None
    epoch: str
    rows: Mapping[str, int]
    extensions: Mapping[str, str]


async def back_up(
    settings: DatabaseSettings,
    file: Path,
    chain: Chain,
    *,
    others: Iterable[Path] = (),
    progress: Progress,
) -> Manifest:
    """Write a backup of the database to `file`, a new one, and its manifest beside it.

    The file has the archive format of pg_dump. It gets its name when every table in it has as many rows as
    the database had in the snapshot that it was made from. `others` are more directories with Postgres'
    programs.

    Raises BackupFailed, ProgramsMissing, DatabaseUnavailable or DatabaseNotReady; then there is no file.
    """
    dsn = settings.url.reveal()
    unfinished = file.with_name(f"{file.name}.unfinished")
    await require_session(dsn)
    _require_new(file, unfinished)
    try:
        async with _snapshot(dsn, chain.program_id) as source:
            programs = find_programs(source.server, settings.programs, others)
            await _dump(dsn, programs, unfinished, source, progress)
        found = await asyncio.to_thread(_rows_in, programs, unfinished)
        if wrong := differences(source.rows, found):
            raise BackupFailed(f"the dump is not what the database was: {'; '.join(wrong)}")
        manifest = Manifest(
            zmartd=__version__,
            created_at=source.created_at,
            server=source.server,
            dumped_with=programs.major,
            schema=source.schema,
            chain=chain,
            checkpoint_slot=source.checkpoint_slot,
            epoch=source.epoch,
            rows=source.rows,
            extensions=source.extensions,
            bytes=unfinished.stat().st_size,
            sha256=await asyncio.to_thread(sha256_of, unfinished),
        )
        write_manifest(file, manifest)
        unfinished.replace(file)
    except OSError as error:
        raise BackupFailed(f"{file} cannot be written ({error.strerror})") from error
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return manifest


async def require_session(dsn: str) -> None:
    """Raises DatabaseNotReady where a transaction pooler is in between, behind which there is no snapshot."""
    if await find_pooling(dsn) is Pooling.TRANSACTION:
        raise DatabaseNotReady(
            "database.url leads through a transaction pooler, behind which pg_dump cannot work: let it "
            "lead to Postgres itself for this command, as in ZMARTD_DATABASE_URL=… zmartd backup"
        )


def _require_new(file: Path, unfinished: Path) -> None:
    """Create the file that is written to, for its owner only."""
    for one in (file, manifest_of(file)):
        if one.exists():
            raise BackupFailed(f"{one} is there already: give a new name")
    try:
        # Left by a run that was killed.
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BackupFailed(f"{file} cannot be written ({error.strerror})") from error


@asynccontextmanager
async def _snapshot(dsn: str, program_id: str) -> AsyncIterator[_Source]:
    """The database in a snapshot, which is kept for the length of a block."""
    async with connected(dsn) as connection:
        await connection.execute(_NO_LIMITS)
        role = await role_that_sees_all(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if not await connection.fetchval("select to_regclass('zmartd.schema_migrations') is not null"):
                raise BackupFailed("there is nothing of zmartd's in this database: check database.url")
            if role is not None:
                await connection.execute(f"set local role {role}")
            yield await _read(connection, role, program_id)


async def _read(connection: Connection, role: str | None, program_id: str) -> _Source:
    return _Source(
        snapshot=await connection.fetchval("select pg_export_snapshot()"),
        created_at=await connection.fetchval("select now()"),
        role=role,
        server=connection.get_server_version().major,
        rows=await count_rows(connection),
        schema=await connection.fetchval("select max(number) from zmartd.schema_migrations"),
        checkpoint_slot=await connection.fetchval(
            "select slot from public.indexer_cursor where program_id = $1", program_id
        ),
        epoch=await connection.fetchval("select zmartd.stream_epoch()"),
        extensions=await extensions(connection),
    )


async def _dump(dsn: str, programs: Programs, file: Path, source: _Source, progress: Progress) -> None:
    target = target_of(dsn)
    # Without a role Postgres refuses to dump what row level security would hide from the login.
    role = [] if source.role is None else [f"--role={source.role}", "--enable-row-security"]
    rows, done, begun = _Rows(source.rows), 0, ""

    def heard(line: str) -> None:
        nonlocal done, begun
        if found := _DUMPING.search(line):
            done, begun = done + rows.of(begun), found[1]
            progress(done, rows.total)

    command = [
        programs.path(DUMP),
        f"--dbname={target.url}",
        "--no-password",
        "--format=custom",
        f"--compress={COMPRESSION}",
        f"--file={file}",
        f"--snapshot={source.snapshot}",
        f"--lock-wait-timeout={LOCK_MILLISECONDS}",
        "--verbose",
        *(f"--schema={schema}" for schema in SCHEMAS),
        *(f"--extension={name}" for name in source.extensions),
        *role,
    ]
    try:
        await run_program(command, target.environment, heard)
    except ProgramFailed as error:
        raise BackupFailed(f"pg_dump failed: {error}") from error
    progress(rows.total, rows.total)


class _Rows:
    """The rows of tables by their names, as pg_dump and pg_restore say them."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = rows
        self.total = sum(rows.values())

    def of(self, table: str) -> int:
        return self._rows.get(table, 0)


def _rows_in(programs: Programs, file: Path) -> dict[str, int]:
    """How many rows of each table are in an archive, which is read to its end. Raises BackupFailed."""
    process = subprocess.Popen(  # noqa: S603 - found by `find_programs`
        [programs.path(RESTORE), "--data-only", "--file=-", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": os.defpath},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        rows = dict(_counted(process.stdout))
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise BackupFailed(f"the dump cannot be read again: {said}")
    return rows


def _counted(script: IO[bytes]) -> Iterator[tuple[str, int]]:
    """The tables of a script of COPY statements, each with the number of its rows."""
    for line in script:
        if match := _COPY.fullmatch(line):
            count = 0
            for row in script:
                if row == _END_OF_COPY:
                    break
                count += 1
            yield match[1].decode(), count
