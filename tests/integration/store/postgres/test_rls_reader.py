"""Reads of one round trip: for whom they are made, and that nothing of it is left on the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.event_loop import run
from tests.integration.store.rows import first_row, insert_market, insert_position, wallet
from tests.outside_servers import LOGIN, PostgresServer, url_as
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.backend import OwnBackend, SharedBackend
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.postgres.plans import MAX_SECONDS, kept
from zmartd.store.postgres.reader import Reader
from zmartd.store.postgres.rls import ANYBODY, Caller

ALICE, BOB = Caller(wallet("alice")), Caller(wallet("bob"))
WHO = "select current_user::text as role, zmartd.caller_wallet() as wallet"
HELD = "select user_wallet from user_positions order by user_wallet"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool whose reads and transactions all follow each other on the same connection."""
    opened = await Database.connect(config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=1))
    yield opened
    await opened.close()


@pytest.fixture
async def holders(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for caller in (ALICE, BOB):
            await insert_position(connection, market, str(caller.wallet))


async def reader_is(database: Database, caller: Caller) -> tuple[str, str | None]:
    async with database.reader(caller) as connection:
        row = await first_row(connection, WHO)
    return row["role"], row["wallet"]


async def assert_nothing_is_left(database: Database) -> None:
    """Without acting for anybody the connection is the login's, without claims."""
    pooled = await database._pool.acquire("none")
    row = await first_row(
        pooled.connection,
        "select current_setting('role') as role, nullif(current_setting('request.jwt.claims', true), '')"
        " as claims, "
        "pg_current_xact_id_if_assigned() is null as outside",
    )
    assert not pooled.connection.is_in_transaction()
    database._pool.release(pooled)
    assert tuple(row) == ("none", None, True)


async def test_rls_reading_is_done_as_its_caller(database: Database) -> None:
    for caller, role in ((ALICE, "authenticated"), (ANYBODY, "anon"), (BOB, "authenticated")):
        assert await reader_is(database, caller) == (role, caller.wallet)
        await assert_nothing_is_left(database)


async def test_rls_reading_is_done_as_the_daemon_itself(database: Database, holders: None) -> None:
    async with database.service_reader() as connection:
        row = await first_row(connection, WHO)
        assert (row["role"], row["wallet"]) == ("service_role", None)
        held = [row["user_wallet"] for row in await connection.fetch(HELD)]
    assert held == sorted([wallet("alice"), wallet("bob")])
    await assert_nothing_is_left(database)
    assert await reader_is(database, ANYBODY) == ("anon", None)


async def test_rls_reading_as_the_daemon_itself_keeps_no_plan_for_later(database: Database) -> None:
    mode = "select current_setting('plan_cache_mode')"
    async with database.service() as connection:
        assert await connection.fetchval(mode) == "force_custom_plan"
    async with database.service_reader() as connection:
        assert await connection.fetchval(mode) == "force_custom_plan"
    async with database.reader(ANYBODY) as connection:
        assert await connection.fetchval(mode) == "auto"


async def test_rls_reading_plans_a_kept_statement_once_on_a_backend_of_its_own(database: Database) -> None:
    is_shared = isinstance(database._backend, SharedBackend)
    mode = "select current_setting('plan_cache_mode')"
    for caller, otherwise in ((None, "force_custom_plan"), (ANYBODY, "auto"), (ALICE, "auto")):
        async with database.service_reader() if caller is None else database.reader(caller) as connection:
            assert await connection.fetchval(kept(mode)) == (otherwise if is_shared else "force_generic_plan")
            assert await connection.fetchval(mode) == otherwise
    if is_shared:
        return
    statement = kept("select id from markets where id = $1")
    async with database.service_reader() as connection:
        for name in ("a", "b", "c"):
            await connection.fetch(statement, name)
        plans = "select generic_plans, custom_plans from pg_prepared_statements where statement = $1"
        assert tuple(await first_row(connection, plans, statement)) == (3, 0)


async def test_plans_that_are_kept_are_made_anew_after_a_while(database: Database) -> None:
    if isinstance(database._backend, SharedBackend):
        pytest.skip("no plan is kept behind a pooler")
    async with database.service() as connection:
        await connection.execute(
            "reset role; create temp sequence plannings; grant usage on sequence plannings to service_role;"
            " create function pg_temp.planning() returns bigint immutable language sql"
            " as $$ select nextval('plannings') $$"
        )
    planning = kept("select pg_temp.planning() where $1::int > 0")

    async def read() -> int:
        """The number of times that the statement was planned."""
        async with database.service_reader() as connection:
            number: int = await connection.fetchval(planning, 1)
        return number

    first = await read()
    assert [await read() for _ in range(3)] == [first] * 3
    for keeps_plans, plannings in ((True, 1), (False, 3)):
        async with database.service(keeps_plans=keeps_plans) as connection:
            assert len({await connection.fetchval(planning, 1) for _ in range(3)}) == plannings
    pooled = await database._pool.acquire("none")
    pooled.plans_since -= MAX_SECONDS + 1
    database._pool.release(pooled)
    second = await read()
    assert second > first
    assert await read() == second


async def test_rls_reading_shows_each_wallet_its_own_rows(database: Database, holders: None) -> None:
    for caller in (ALICE, BOB):
        async with database.reader(caller) as connection:
            rows = await connection.fetch(HELD)
            assert [row["user_wallet"] for row in rows] == [caller.wallet]
    async with database.reader(ANYBODY) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(HELD)


async def test_rls_reading_acts_for_the_caller_in_every_statement_of_a_block(database: Database) -> None:
    async with database.reader(ALICE) as connection:
        for _ in range(3):
            assert tuple(await first_row(connection, WHO)) == ("authenticated", ALICE.wallet)
            assert await connection.fetchval("select current_user::text") == "authenticated"


async def test_rls_reading_leaves_nothing_behind_when_a_statement_fails(database: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.reader(ALICE) as connection:
            await connection.fetchval("select 1 / $1::int", 0)
    await assert_nothing_is_left(database)
    assert await reader_is(database, ANYBODY) == ("anon", None)


async def test_rls_reading_leaves_nothing_behind_when_a_statement_is_never_sent(database: Database) -> None:
    with pytest.raises(asyncpg.DataError):
        async with database.reader(ALICE) as connection:
            await connection.fetchval("select $1::int", "not a number")
    await assert_nothing_is_left(database)
    async with database.service() as connection:
        assert tuple(await first_row(connection, WHO)) == ("service_role", None)


async def test_rls_reading_goes_on_after_a_statement_that_was_never_sent(database: Database) -> None:
    async with database.reader(ALICE) as connection:
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("select $1::int", "not a number")
        assert tuple(await first_row(connection, WHO)) == ("authenticated", ALICE.wallet)
    await assert_nothing_is_left(database)


async def test_rls_reading_leaves_nothing_behind_when_it_is_cancelled(
    database: Database, migrated_database_url: str
) -> None:
    async def wait_long() -> None:
        async with database.reader(ALICE) as connection:
            await connection.fetchval("select pg_sleep(60)")

    watcher = await asyncpg.connect(migrated_database_url)
    task = asyncio.create_task(wait_long())
    async with asyncio.timeout(120):
        while not await watcher.fetchval(
            "select exists (select from pg_stat_activity where query = 'select pg_sleep(60)'"
            " and state = 'active')"
        ):
            pass
    await watcher.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_nothing_is_left(database)
    assert await reader_is(database, ANYBODY) == ("anon", None)


async def test_rls_reading_commits_nothing_half_and_sees_what_was_committed(
    database: Database, holders: None
) -> None:
    async with database.reader(BOB) as connection:
        assert await connection.fetchval("select count(*) from markets") == 1
    async with database.service() as connection:
        await insert_market(connection, "another")
    async with database.reader(BOB) as connection:
        assert await connection.fetchval("select count(*) from markets") == 2


async def test_rls_reading_takes_turns_with_transactions_of_every_role(
    database: Database, holders: None
) -> None:
    for caller in (ALICE, ANYBODY, BOB):
        async with database.caller(caller) as connection:
            assert (await first_row(connection, WHO))["role"] == caller.role
        assert await reader_is(database, caller) == (caller.role, caller.wallet)
        async with database.service() as connection:
            assert tuple(await first_row(connection, WHO)) == ("service_role", None)


async def test_rls_reading_survives_a_change_of_what_a_statement_gives(
    database: Database, migrated_database_url: str
) -> None:
    other = await asyncpg.connect(migrated_database_url)
    await other.execute("create table public.changing (a int); grant select on public.changing to anon")
    try:
        async with database.reader(ANYBODY) as connection:
            assert await connection.fetch("select * from public.changing") == []
            await other.execute(
                "insert into public.changing values (1); alter table public.changing add b int default 2"
            )
            assert [tuple(row) for row in await connection.fetch("select * from public.changing")] == [(1, 2)]
            assert tuple(await first_row(connection, WHO)) == ("anon", None)
    finally:
        await other.execute("drop table public.changing")
        await other.close()


async def test_rls_reading_over_a_lost_connection_is_reported_and_the_next_gets_a_new_one(
    migrated_database_url: str,
) -> None:
    database = await Database.connect(
        config.DatabaseSettings(url=PostgresUrl(migrated_database_url), pool_size=1)
    )
    other = await asyncpg.connect(migrated_database_url)

    async def read_on() -> None:
        async with database.reader(ALICE) as connection:
            pid = await connection.fetchval("select pg_backend_pid()")
            await other.execute("select pg_terminate_backend($1, 5000)", pid)
            await connection.fetchrow(WHO)

    with pytest.raises(DatabaseUnavailable):
        await read_on()
    await other.close()
    assert await reader_is(database, ALICE) == ("authenticated", ALICE.wallet)
    await database.close()


@pytest.mark.parametrize("backend", [OwnBackend(10), SharedBackend(10)])
async def test_rls_reading_does_not_happen_when_the_login_may_not_act_for_the_caller(
    migrated_database_url: str, outsider: str, backend: OwnBackend | SharedBackend
) -> None:
    connection = await backend.connect(url_as(migrated_database_url, outsider))
    if isinstance(backend, OwnBackend):
        await backend.set_up(connection)
    reader = Reader(connection, backend, ALICE, {})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="authenticated"):
        await reader.fetchval("select count(*) from markets")
    await connection.execute("rollback")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="authenticated"):
        await reader.fetchval("select pg_advisory_lock(4711)")
    await connection.execute("rollback")
    assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0
    await connection.close()


@pytest.fixture
def outsider(postgres_server: PostgresServer) -> Iterator[str]:
    """A login that may see everything, and act for nobody."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.dsn_of("postgres"))
        await connection.execute(statement)
        await connection.close()

    run(execute(f"create role outsider {LOGIN} bypassrls in role pg_read_all_data"))
    yield "outsider"
    run(execute("drop role outsider"))


async def test_rls_reading_works_for_a_login_that_inherits_nothing_of_the_roles_it_takes(
    database_url: str, authenticator: str, holders: None
) -> None:
    url = url_as(database_url, authenticator)
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(url), pool_size=1))
    for caller, role in ((ALICE, "authenticated"), (ANYBODY, "anon")):
        assert await reader_is(database, caller) == (role, caller.wallet)
    async with database.reader(ALICE) as connection:
        assert await connection.fetchval("select count(*) from user_positions") == 1
    await assert_nothing_is_left(database)
    await database.close()


@pytest.fixture
def authenticator(postgres_server: PostgresServer) -> Iterator[str]:
    """A login as Supabase has it."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.dsn_of("postgres"))
        await connection.execute(statement)
        await connection.close()

    run(execute(f"create role go_between {LOGIN} noinherit in role anon, authenticated, service_role"))
    yield "go_between"
    run(execute("drop role go_between"))
