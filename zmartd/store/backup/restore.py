"""`zmartd restore`: a backup becomes a database again, with another epoch of its streams."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from asyncpg import Connection, PostgresError
from msgspec import Struct

from zmartd.config import DatabaseSettings
from zmartd.store import streams
from zmartd.store.backup.backup import require_session
from zmartd.store.backup.contents import SCHEMAS, count_rows, differences, role_that_sees_all
from zmartd.store.backup.errors import RestoreFailed, RestoreRefused
from zmartd.store.backup.manifest import Chain, Manifest, read_manifest, require_intact
from zmartd.store.backup.programs import (
    RESTORE,
    ProgramFailed,
    Programs,
    find_programs,
    run_program,
    target_of,
)
from zmartd.store.postgres.connection import APPLICATION_NAME
from zmartd.store.postgres.errors import location
from zmartd.store.postgres.migrations import all_migrations, connected
from zmartd.store.postgres.rls import SERVICE

_NO_LIMITS = "select set_config('statement_timeout', '0', false)"
_IS_EMPTY = """
select to_regnamespace('zmartd') is null and not exists (
    select from pg_class as relation
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')
       and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = relation.oid
                        and deptype = 'e'))
"""
_DAEMONS = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()
"""
_ROLES = """
do $$
declare
    version constant integer := current_setting('server_version_num');
    role_name text;
begin
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin noinherit', role_name);
        end if;
        continue when pg_has_role(role_name, case when version >= 160000 then 'set' else 'member' end);
        execute format('grant %I to current_user', role_name)
            || case when version >= 160000 then ' with inherit false' else '' end;
    end loop;
end
$$
"""
_ADMIT = "grant usage on schema public to anon, authenticated, service_role"
_WIPE = """
do $$
declare
    command text;
    commands text[];
begin
    with ours as (
        select 'relation' as kind, oid, format('public.%I', relname) as name, relkind
          from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')
        union all
        select 'routine', oid, oid::regprocedure::text, 'f'
          from pg_proc where pronamespace = 'public'::regnamespace
    )
    select array_agg(format('drop %s if exists %s cascade', case relkind when 'v' then 'view'
                            when 'm' then 'materialized view' when 'S' then 'sequence'
                            when 'f' then 'routine' else 'table' end, name) order by kind)
      into commands from ours
     where not exists (select from pg_depend where pg_depend.objid = ours.oid and deptype in ('e', 'i', 'a')
                          and classid in ('pg_class'::regclass, 'pg_proc'::regclass));
    foreach command in array coalesce(commands, '{}') loop
        execute command;
    end loop;
    drop schema if exists zmartd cascade;
end
$$
"""
_LEFT_OUT = re.compile(r"SCHEMA - public |(COMMENT|ACL) - SCHEMA public |COMMENT - EXTENSION |DEFAULT ACL ")
"""Entries of an archive about what every database has, or what belongs to its administrator."""
_ENTRY = re.compile(r"\d+; \d+ \d+ (.*)")
_RIGHTS = re.compile(r"\d+; \d+ \d+ (ACL|ROW SECURITY|POLICY) ")
"""Entries about who may do what. They are the last: row level security stands in the way of foreign keys."""
_FINISHED = re.compile(r"finished item \d+ TABLE DATA (\S+)")
_DISOWN_AT_ONCE: Final = 100_000

Progress = Callable[[int, int], None]


class Restored(Struct, frozen=True, kw_only=True):
    """A restored database. It is behind the chain, and its users have still to learn of it."""

    database: str
    backup: Manifest
    rows: int
    epoch: str
    """The new epoch of the streams: every client takes a snapshot."""
    pending: tuple[str, ...]
    """The migrations that this zmartd has and the backup has not."""


async def restore(
    settings: DatabaseSettings,
    file: Path,
    chain: Chain,
    *,
    replace: bool = False,
    jobs: int,
    others: Iterable[Path] = (),
    progress: Progress,
) -> Restored:
    """Restore the backup `file` into an empty database, or with `replace` into one that loses what it has.

    Raises RestoreRefused before anything is changed, RestoreFailed afterwards, ProgramsMissing,
    DatabaseUnavailable or DatabaseNotReady.
    """
    dsn = settings.url.reveal()
    manifest = read_manifest(file)
    pending = _pending(manifest)
    if manifest.chain != chain:
        raise RestoreRefused(
            f"{file} is of {manifest.chain.cluster}, program {manifest.chain.program_id}, and these settings "
            f"are for {chain.cluster}, program {chain.program_id}: check solana.cluster and solana.program_id"
        )
    await asyncio.to_thread(require_intact, file, manifest)
    await require_session(dsn)
    async with connected(dsn) as connection:
        await connection.execute(_NO_LIMITS)
        await _require_room(connection, manifest, replace, location(dsn))
        programs = find_programs(manifest.dumped_with, settings.programs, others)
        await _prepare(connection, manifest)
        archive = _Archive(dsn, programs, file)
        listed = await asyncio.to_thread(archive.entries)
        await archive.restore(
            [one for one in listed if not _RIGHTS.match(one)], jobs, _heard(manifest, progress)
        )
        await connection.execute(_REVOKE)
        await archive.restore([one for one in listed if _RIGHTS.match(one)], 1)
        epoch = await _finish(connection, manifest)
    return Restored(
        database=location(dsn),
        backup=manifest,
        rows=sum(manifest.rows.values()),
        epoch=epoch,
        pending=pending,
    )


def _pending(manifest: Manifest) -> tuple[str, ...]:
    known = all_migrations()
    if manifest.schema > len(known):
        raise RestoreRefused(
            f"the backup has migration {manifest.schema:04d}, made by zmartd {manifest.zmartd}, and this "
            f"zmartd knows {len(known):04d}: upgrade zmartd"
        )
    return tuple(migration.name for migration in known[manifest.schema :])


async def _require_room(connection: Connection, manifest: Manifest, replace: bool, where: str) -> None:
    server = connection.get_server_version().major
    if server < manifest.server:
        raise RestoreRefused(
            f"the backup is from Postgres {manifest.server}, and {where} is Postgres {server}: use a server "
            "that is not older"
        )
    daemons = await connection.fetchval(_DAEMONS, APPLICATION_NAME)
    if daemons:
        raise RestoreRefused(f"{where} is in use by zmartd, with {daemons} connections: stop the daemons")
    if await connection.fetchval(_IS_EMPTY):
        return
    if not replace:
        raise RestoreRefused(
            f"{where} is not empty: name an empty database, or give --replace, which deletes every table in "
            "its schemas public and zmartd"
        )
    async with connection.transaction():
        await connection.execute(_WIPE)


async def _prepare(connection: Connection, manifest: Manifest) -> None:
    """Make what the archive takes for granted: roles, their rights on the schema, the extensions' schemas."""
    try:
        async with connection.transaction():
            await connection.execute(_ROLES)
            await connection.execute(_ADMIT)
            for name in {*manifest.extensions.values()} - {*SCHEMAS}:
                quoted = await connection.fetchval("select quote_ident($1)", name)
                await connection.execute(f"create schema if not exists {quoted}")
                await connection.execute(
                    f"grant usage on schema {quoted} to anon, authenticated, service_role"
                )
    except PostgresError as error:
        raise RestoreRefused(
            f"the database cannot be prepared ({error}): as an administrator create the roles anon, "
            f"authenticated and {SERVICE}, and grant them to the login of database.url"
        ) from error


_REVOKE = "; ".join(
    f"revoke all on all {kind} in schema {schema} from anon, authenticated, {SERVICE}"
    for kind in ("tables", "sequences", "routines")
    for schema in SCHEMAS
)
"""Takes away what the default privileges of the database, as at Supabase, have given on what was restored."""


class _Archive(Struct, frozen=True):
    """A backup's file, and where it is restored to."""

    dsn: str
    programs: Programs
    file: Path

    def entries(self) -> list[str]:
        """The lines of its list of contents, without those that are left out. Raises RestoreFailed."""
        try:
            listed = subprocess.run(  # noqa: S603 - found by `find_programs`
                [self.programs.path(RESTORE), "--list", str(self.file)],
                capture_output=True,
                text=True,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise RestoreFailed(f"pg_restore cannot read {self.file}: {error.stderr.strip()}") from error
        return [
            line
            for line in listed.stdout.splitlines()
            if (entry := _ENTRY.match(line)) and not _LEFT_OUT.match(entry[1])
        ]

    async def restore(
        self, entries: Iterable[str], jobs: int, heard: Callable[[str], None] = lambda line: None
    ) -> None:
        """Restore these entries. Raises RestoreFailed."""
        target = target_of(self.dsn)
        with tempfile.NamedTemporaryFile("w", prefix="zmartd-restore-", encoding="utf-8") as wanted:
            wanted.write("\n".join(entries))
            wanted.flush()
            command = [
                self.programs.path(RESTORE),
                f"--dbname={target.url}",
                "--no-password",
                "--no-owner",
                "--exit-on-error",
                f"--jobs={jobs}",
                f"--use-list={wanted.name}",
                "--verbose",
                str(self.file),
            ]
            try:
                await run_program(command, target.environment, heard)
            except ProgramFailed as error:
                raise RestoreFailed(
                    f"pg_restore failed: {error}. The database is half restored: when the cause is mended, "
                    "repeat this with --replace"
                ) from error


def _heard(manifest: Manifest, progress: Progress) -> Callable[[str], None]:
    """What pg_restore says, as progress: it names each table that it has finished."""
    rows = {name.rpartition(".")[2]: count for name, count in manifest.rows.items()}
    total, done = sum(rows.values()), 0

    def hear(line: str) -> None:
        nonlocal done
        if found := _FINISHED.search(line):
            done += rows.get(found[1], 0)
            progress(done, total)

    return hear


async def _finish(connection: Connection, manifest: Manifest) -> str:
    """Compare what is there with the backup, and begin another epoch, which is given."""
    role = await role_that_sees_all(connection)
    async with connection.transaction():
        if role is not None:
            await connection.execute(f"set local role {role}")
        if wrong := differences(manifest.rows, await count_rows(connection)):
            raise RestoreFailed(f"the database is not what was backed up: {'; '.join(wrong)}")
    disowned = _DISOWN_AT_ONCE
    while disowned == _DISOWN_AT_ONCE:
        async with connection.transaction():
            await connection.execute(f"set local role {SERVICE}")
            disowned = await streams.disown(connection, _DISOWN_AT_ONCE)
    async with connection.transaction():
        await connection.execute(f"set local role {SERVICE}")
        epoch = await streams.change_epoch(connection)
    await connection.execute("analyze")
    return epoch
