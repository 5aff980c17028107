"""A database is backed up and restored by logins of every kind, and is what it was, to the last right."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from tests.event_loop import run
from tests.forked_commands import run_command
from tests.integration.store.database_shape import CATALOG
from tests.integration.store.postgres.rls_rows import OWNER, insert_markets, tables
from tests.integration.store.postgres.test_rls import ROLES, SUPABASE, SUPABASE_LOGINS
from tests.integration.store.rows import first_row, insert
from tests.outside_servers import LOGIN, PostgresServer, url_as
from tests.statements import execute
from zmartd.embedded.installation import installation
from zmartd.store.backup.programs import find_programs
from zmartd.store.schema import bring_up_to_date

Zmartd = Callable[..., Awaitable[tuple[int, str, str]]]

KINDS = ("plain owner", "like Supabase")
PLAIN = (
    ROLES,
    f"create role plain {LOGIN} noinherit",
    "grant anon, authenticated, service_role to plain",
)
CLEAN_UP = (
    "drop role if exists plain, owner_at_supabase, authenticator",
    "alter role service_role nobypassrls",
)
OWN_RIGHTS = "^(plain|owner_at_supabase)="
"""The owner's own rights are those of whoever restores."""
CHECKSUM = "select count(*), md5(string_agg(one::text, ' ' order by one::text collate \"C\")) from {} as one"
MOVES = ("stream_epochs", "stream_messages")
"""Tables that a restore changes, so that clients learn of it."""


@pytest.fixture(scope="module", params=KINDS)
def places(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Places]:
    """A database with a row in every table, and an empty one, for a login of the given kind."""
    if request.config.getoption("pooled"):
        pytest.skip("a backup needs a connection of its own")
    made = Places(postgres_server, request.param)
    run(made.create())
    yield made
    run(made.drop())


class Places:
    _numbers = count(1)

    def __init__(self, server: PostgresServer, kind: str) -> None:
        number = next(self._numbers)
        self.kind = kind
        self._server = server
        self._names = f"backup_source_{number}", f"backup_target_{number}"
        self.login = "plain" if kind == "plain owner" else "owner_at_supabase"
        self.source, self.target = (self._url(name) for name in self._names)

    async def create(self) -> None:
        logins = PLAIN if self.kind == "plain owner" else SUPABASE_LOGINS
        await execute(self._server.dsn_of("postgres"), *logins)
        for name in self._names:
            await execute(
                self._server.dsn_of("postgres"),
                f"create database {name} template template0 owner {self.login}",
            )
            await execute(self._server.dsn_of(name), f"grant usage, create on schema public to {self.login}")
            if self.kind == "like Supabase":
                await execute(self._server.dsn_of(name), *SUPABASE)
                await execute(
                    self._server.dsn_of(name), f"grant usage, create on schema extensions to {self.login}"
                )
        await bring_up_to_date(self.source)
        rows = tables(OWNER)
        connection = await asyncpg.connect(self._server.dsn_of(self._names[0]))
        try:
            await insert_markets(connection)
            for name, table in rows.items():
                if name not in {"protocol", "stream_epochs"}:
                    await insert(connection, name, **table.row)
        finally:
            await connection.close()

    async def drop(self) -> None:
        statements = [f"drop database {name} with (force)" for name in self._names]
        await execute(self._server.dsn_of("postgres"), *statements, *CLEAN_UP)

    def _url(self, name: str) -> str:
        return url_as(self._server.dsn_of(name), self.login)

    async def rows(self, which: int) -> dict[str, tuple[int, str]]:
        """How many rows each table has, and a checksum of what is in them, as a superuser sees it."""
        connection = await asyncpg.connect(self._server.dsn_of(self._names[which]))
        try:
            names = await connection.fetch(
                "select format('%I.%I', schemaname, tablename) as name from pg_tables"
                " where schemaname in ('public', 'zmartd')"
            )
            found = {}
            for name in (row["name"] for row in names):
                rows, checksum = await first_row(connection, CHECKSUM.format(name))
                if name.rpartition(".")[2] not in MOVES:
                    found[name] = rows, checksum
            return found
        finally:
            await connection.close()

    async def catalog(self, which: int) -> set[tuple[str, ...]]:
        """Every relation, column, policy, constraint, index, function and trigger, with who may do what."""
        connection = await asyncpg.connect(self._server.dsn_of(self._names[which]))
        try:
            return {
                (kind, name, said.replace(self._names[which], ""))
                for kind, name, said in await connection.fetch(CATALOG, OWN_RIGHTS)
            }
        finally:
            await connection.close()

    async def version(self) -> int:
        """The server's major version."""
        connection = await asyncpg.connect(self.source)
        try:
            return connection.get_server_version().major
        finally:
            await connection.close()

    async def administer(self, which: int, *statements: str) -> None:
        await execute(self._server.dsn_of(self._names[which]), *statements)


@pytest.fixture
def zmartd(tmp_path: Path) -> Zmartd:
    """Runs a command against a database; its exit status, and what it said on both ways."""

    async def command(url: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}
        ended = await run_command(arguments, given | {"ZMARTD_DATABASE_URL": url} | environment, tmp_path)
        return ended.status, ended.output, ended.errors

    return command


def modes(directory: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o777) for file in directory.iterdir()}


async def test_what_is_restored_is_what_was_backed_up(places: Places, zmartd: Zmartd, tmp_path: Path) -> None:
    status, printed, told = await zmartd(places.source, "backup", "b", "--json")
    assert (status, told.count("\n")) == (0, 1), told
    manifest: dict[str, Any] = json.loads(printed)
    before = await places.rows(0)
    counted = {name: rows for name, rows in manifest["rows"].items() if name.rpartition(".")[2] not in MOVES}
    assert counted == {name: rows for name, (rows, _) in before.items()}
    assert counted["public.markets"] > 0
    assert json.loads((tmp_path / "b.json").read_text()) == manifest
    assert modes(tmp_path) == {"b": "0o600", "b.json": "0o600"}

    status, printed, told = await zmartd(places.target, "restore", "b", "--json")
    assert status == 0, told
    restored = json.loads(printed)
    assert restored["epoch"] != manifest["epoch"]
    assert restored["pending"] == []
    assert await places.rows(1) == before
    assert sorted(await places.catalog(1) ^ await places.catalog(0)) == []

    status, printed, told = await zmartd(places.target, "restore", "b")
    assert (status, "is not empty" in told) == (1, True)
    status, printed, told = await zmartd(places.target, "restore", "b", "--replace")
    assert status == 0, told
    assert await places.rows(1) == before
    assert sorted(await places.catalog(1) ^ await places.catalog(0)) == []


async def test_a_dump_that_row_level_security_makes_smaller_is_no_backup(
    places: Places, zmartd: Zmartd, tmp_path: Path
) -> None:
    """Postgres dumps such a table as empty, with exit status 0."""
    if places.kind != "plain owner":
        pytest.skip("no row is hidden from a role with BYPASSRLS")
    await places.administer(0, "alter policy service on markets using (id < 'f')")
    try:
        status, printed, told = await zmartd(places.source, "backup", "b")
    finally:
        await places.administer(0, "alter policy service on markets using (true)")
    assert (status, printed) == (1, "")
    assert "the role service_role does not see all rows of public.markets" in told

    await places.administer(0, "revoke service_role from plain")
    try:
        status, printed, told = await zmartd(places.source, "backup", "b")
    finally:
        await places.administer(0, "grant service_role to plain")
    assert (status, printed) == (1, "")
    assert "run GRANT service_role TO plain" in told
    assert modes(tmp_path) == {}


async def test_a_dump_that_lacks_rows_is_no_backup_and_nobody_reads_the_password(
    places: Places, zmartd: Zmartd, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    found = find_programs(await places.version(), "", [installation(for_everyone=False) / "bin"])
    for name, options in (("pg_dump", "--exclude-table-data=public.markets"), ("pg_restore", "")):
        script = f'#!/bin/sh\necho "$@" >>{tmp_path}/said\nexec {found.path(name)} "$@" {options}\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    url, password = places.source, unquote(urlsplit(places.source).password or "")
    if not password:  # this server asks for none
        url, password = url.replace("@", ":hunter%2F2@", 1), "hunter/2"
    status, printed, told = await zmartd(url, "backup", "b", ZMARTD_DATABASE_PROGRAMS=str(programs))
    assert (status, printed) == (1, "")
    (rows, _) = (await places.rows(0))["public.markets"]
    assert f"public.markets has 0 rows instead of {rows}" in told
    said = (tmp_path / "said").read_text()
    assert "--snapshot=" in said
    assert password not in unquote(said + told)
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "b.unfinished").exists()
