"""What a login without special rights needs, who says so, and that it is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Connection

from tests.event_loop import run
from tests.statements import execute
from zmartd.config import DatabaseSettings
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.store import schema
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import all_migrations
from zmartd.store.postgres.rights import Lack, RightsMissing, lacking


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles belong to no database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("bare"), Durability.EPHEMERAL)
    run(server.start())
    yield server
    run(server.stop())


class Bare:
    """A database of a login, and its administrator."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.administration = server.dsn_of("postgres")
        self.inside = server.dsn_of("plain")
        self.url = self.inside.replace("zmartd@", "plain@", 1)

    async def administer(self, *statements: str) -> None:
        await execute(self.administration, *statements)

    async def lacks(self) -> list[Lack]:
        connection: Connection = await asyncpg.connect(self.url)
        try:
            return await lacking(connection)
        finally:
            await connection.close()


@pytest.fixture
def bare(bare_server: EmbeddedPostgres) -> Iterator[Bare]:
    """Made anew for each test: a login that owns its database, and none of zmartd's roles."""
    made = Bare(bare_server)
    run(made.administer("create role plain login", "create database plain owner plain template template0"))
    yield made
    run(
        made.administer(
            "drop database plain with (force)",
            "drop role if exists anon, authenticated, service_role, plain, other",
        )
    )


async def test_what_a_plain_owner_lacks_is_said_before_anything_is_changed_and_its_sql_suffices(
    bare: Bare,
) -> None:
    with pytest.raises(RightsMissing) as caught:
        await schema.bring_up_to_date(bare.url)
    assert "the roles anon, authenticated, service_role are not there" in caught.value.message
    connection = await asyncpg.connect(bare.url)
    assert await connection.fetchval("select to_regnamespace('zmartd')") is None
    await connection.close()

    lacks = await bare.lacks()
    assert [lack.sql for lack in lacks] == [
        "CREATE ROLE anon NOLOGIN NOINHERIT; CREATE ROLE authenticated NOLOGIN NOINHERIT; "
        "CREATE ROLE service_role NOLOGIN NOINHERIT;",
        "GRANT anon, authenticated, service_role TO plain WITH INHERIT FALSE;",
    ]
    assert all(lack.sql in caught.value.message.splitlines() for lack in lacks)
    await execute(bare.inside, *(lack.sql for lack in lacks))
    assert await bare.lacks() == []
    assert len(await schema.bring_up_to_date(bare.url)) == len(all_migrations())
    database = await Database.connect(DatabaseSettings(url=PostgresUrl(bare.url)))
    async with database.service() as service:
        assert await service.fetchval("select current_user") == "service_role"
    await database.close()


@pytest.mark.parametrize("attribute", ["createrole", "superuser"])
async def test_who_may_create_the_roles_lacks_nothing(bare: Bare, attribute: str) -> None:
    await bare.administer(f"alter role plain {attribute}")
    assert await bare.lacks() == []
    assert len(await schema.bring_up_to_date(bare.url)) == len(all_migrations())


async def test_roles_of_another_administrator_have_to_be_granted_as_at_supabase(bare: Bare) -> None:
    roles = ("anon", "authenticated", "service_role")
    await bare.administer("alter role plain createrole", *(f"create role {role} nologin" for role in roles))
    [lack] = await bare.lacks()
    assert lack.cause == "plain may not act as anon, authenticated, service_role"
    await execute(bare.inside, lack.sql)
    assert await bare.lacks() == []
    await bare.administer("alter role anon bypassrls", "alter role service_role bypassrls")
    [lack] = await bare.lacks()
    assert lack.cause.startswith("anon is not subject to row level security")
    await execute(bare.inside, lack.sql)
    assert await bare.lacks() == []


async def test_who_does_not_own_the_database_needs_rights_in_it(bare: Bare) -> None:
    await bare.administer("alter role plain createrole", "alter database plain owner to zmartd")
    lacks = await bare.lacks()
    assert [lack.sql for lack in lacks] == [
        "GRANT CREATE ON DATABASE plain TO plain;",
        "CREATE SCHEMA IF NOT EXISTS public; GRANT USAGE, CREATE ON SCHEMA public TO plain;",
    ]
    with pytest.raises(RightsMissing):
        await schema.bring_up_to_date(bare.url)
    await execute(bare.inside, *(lack.sql for lack in lacks))
    assert await bare.lacks() == []
    assert len(await schema.bring_up_to_date(bare.url)) == len(all_migrations())


async def test_tables_of_somebody_else_and_a_closed_schema_are_noticed(bare: Bare) -> None:
    await bare.administer("alter role plain createrole")
    await schema.bring_up_to_date(bare.url)
    await bare.administer("create role other")
    await execute(
        bare.inside,
        "alter table public.trades owner to other",
        "revoke usage on schema public from public, anon",
    )
    lacks = await bare.lacks()
    assert [lack.sql for lack in lacks] == [
        "GRANT USAGE ON SCHEMA public TO anon;",
        "GRANT other TO plain;",
    ]
    await execute(bare.inside, *(lack.sql for lack in lacks))
    assert await bare.lacks() == []
    await execute(bare.inside, "drop owned by other cascade")


async def test_daemons_work_with_a_second_login_that_owns_nothing_as_while_a_password_is_rotated(
    bare: Bare,
) -> None:
    await bare.administer("alter role plain createrole")
    await schema.bring_up_to_date(bare.url)
    await bare.administer(
        "create role other login noinherit", "grant anon, authenticated, service_role to other"
    )
    database = await Database.connect(
        DatabaseSettings(url=PostgresUrl(bare.inside.replace("zmartd@", "other@", 1)))
    )
    await database.require_usable()
    async with database.service() as service:
        await service.execute("insert into users (wallet) values ($1)", "1" * 32)
    async with database.service_reader() as reader:
        assert await reader.fetchval("select count(*) from users") == 1
    await database.close()


async def test_the_sql_of_the_installation_is_all_that_a_login_needs(bare: Bare) -> None:
    page = (Path(__file__).parents[4] / "docs" / "install.md").read_text()
    [sql] = re.findall(r"<<'SQL'\n(.*?)^SQL$", page, re.MULTILINE | re.DOTALL)
    sql = sql.replace("zmartd", "other").replace(":'password'", "'secret'")
    await bare.administer(*filter(None, (statement.strip() for statement in sql.split(";"))))
    url = bare.administration.replace("zmartd@", "other@", 1).replace("/postgres", "/other")
    connection: Connection = await asyncpg.connect(url)
    assert await lacking(connection) == []
    await connection.close()
    assert len(await schema.bring_up_to_date(url)) == len(all_migrations())
    await bare.administer("drop database other with (force)")
