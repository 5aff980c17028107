from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from tests.event_loop import run
from tests.integration.store.rows import first_row, insert_market, wallet
from tests.outside_servers import LOGIN, PostgresServer, url_as
from zmartd import config
from zmartd.config_values import PostgresUrl, Secret
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable
from zmartd.store.postgres.migrations import migrate
from zmartd.store.postgres.rls import ANYBODY, Caller

ALICE, BOB = Caller(wallet("alice")), Caller(wallet("bob"))
U64_MAX = 2**64 - 1
WHO = "select current_user::text as role, zmartd.caller_wallet() as wallet, current_setting('role') as set"


@pytest.fixture
async def one_connection(database_url: str) -> AsyncIterator[Database]:
    """A pool whose transactions all follow each other on the same connection."""
    opened = await Database.connect(config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=1))
    yield opened
    await opened.close()


async def who(database: Database, caller: Caller) -> tuple[str, str | None]:
    async with database.caller(caller) as connection:
        row = await first_row(connection, WHO)
    return row["role"], row["wallet"]


async def test_each_transaction_runs_as_its_caller(one_connection: Database) -> None:
    assert await who(one_connection, ALICE) == ("authenticated", ALICE.wallet)
    assert await who(one_connection, ANYBODY) == ("anon", None)
    assert await who(one_connection, BOB) == ("authenticated", BOB.wallet)
    async with one_connection.service() as connection:
        row = await first_row(connection, WHO)
    assert (row["role"], row["wallet"]) == ("service_role", None)


async def test_nothing_is_compiled(one_connection: Database) -> None:
    """Compiling takes half a second for statements that otherwise end within milliseconds."""
    asked = "select current_setting('jit_above_cost')"
    async with one_connection.service() as connection:
        found = [await connection.fetchval(asked)]
    async with one_connection.caller(ALICE) as connection:
        found.append(await connection.fetchval(asked))
    for reading in (one_connection.service_reader(), one_connection.reader(ALICE)):
        async with reading as reader:
            found.append(await reader.fetchval(asked))
    assert found == ["-1"] * 4


async def test_neither_role_nor_claims_stay_on_the_connection(one_connection: Database) -> None:
    await who(one_connection, ALICE)

    pooled = await one_connection._pool.acquire("none")
    row = await first_row(pooled.connection, WHO)
    one_connection._pool.release(pooled)
    assert row["wallet"] is None
    assert row["set"] == "none"


async def test_a_failed_transaction_leaves_nothing_behind(one_connection: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with one_connection.caller(ALICE) as connection:
            await connection.fetchval("select 1 / 0")

    assert await who(one_connection, ANYBODY) == ("anon", None)


async def test_a_block_that_raises_is_rolled_back(one_connection: Database) -> None:
    async def fail() -> None:
        async with one_connection.service() as connection:
            await insert_market(connection, "m")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with one_connection.service() as connection:
        assert await connection.fetchval("select count(*) from markets") == 0


async def test_a_cancelled_transaction_is_rolled_back_and_frees_the_connection(
    one_connection: Database,
) -> None:
    entered = asyncio.Event()

    async def wait_inside() -> None:
        async with one_connection.caller(ALICE) as connection:
            await insert_user(connection)
            entered.set()
            await connection.execute("select pg_sleep(60)")

    task = asyncio.create_task(wait_inside())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await who(one_connection, ANYBODY) == ("anon", None)
    async with one_connection.service() as connection:
        assert await connection.fetchval("select count(*) from users") == 0


async def test_a_commit_is_there_for_others(database: Database) -> None:
    async with database.caller(ALICE) as connection:
        await insert_user(connection)

    async with database.service() as connection:
        assert await connection.fetchval("select wallet from users") == ALICE.wallet


async def test_amounts_are_exact_integers_and_prices_exact_decimals(database: Database) -> None:
    async with database.service() as connection:
        row = await first_row(
            connection,
            """
            select $1::zmartd.u64 as most, sum($2::numeric) as sum, $3::zmartd.price as price,
                   $4::numeric[] as many
            """,
            U64_MAX,
            U64_MAX,
            Decimal("0.123456789"),
            [0, U64_MAX, -1],
        )

    assert (row["most"], row["sum"], row["many"]) == (U64_MAX, U64_MAX, [0, U64_MAX, -1])
    assert type(row["most"]) is int
    assert row["price"] == Decimal("0.123456789")


@pytest.mark.parametrize("amount", [-1, U64_MAX + 1])
async def test_what_is_no_u64_is_refused(database: Database, amount: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="u64_range"):
        async with database.service() as connection:
            await connection.fetchval("select $1::numeric::zmartd.u64", amount)


async def test_a_lost_connection_is_reported_and_the_next_transaction_gets_a_new_one(
    one_connection: Database,
) -> None:
    with pytest.raises(DatabaseUnavailable, match="check that it is running"):
        async with one_connection.service() as connection:
            await connection.execute("reset role; select pg_terminate_backend(pg_backend_pid())")

    assert await who(one_connection, ALICE) == ("authenticated", ALICE.wallet)


async def test_an_idle_connection_that_the_server_has_closed_is_replaced_and_nobody_notices(
    one_connection: Database, migrated_database_url: str, request: pytest.FixtureRequest
) -> None:
    if "direct" not in request.node.name:
        return  # a pooler keeps its clients, whatever happens behind it
    async with one_connection.service() as connection:
        backend = await connection.fetchval("select pg_backend_pid()")
    # The event loop stands still meanwhile, so that it cannot have noticed.
    thread = threading.Thread(target=lambda: run(end_backend(migrated_database_url, backend)))
    thread.start()
    thread.join()
    async with one_connection.service_reader() as reader:
        assert await reader.fetchval("select pg_backend_pid()") != backend


async def end_backend(database_url: str, backend: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("select pg_terminate_backend($1, 60000)", backend)
    finally:
        await connection.close()


async def test_what_asyncpg_cannot_explain_is_a_failure_of_postgres(one_connection: Database) -> None:
    """As it raises when Postgres ends while it sends an answer."""

    async def lose_track() -> None:
        async with one_connection.service():
            raise asyncpg.InternalClientError("got result for unknown protocol state 0")

    with pytest.raises(DatabaseUnavailable, match="internal client"):
        await lose_track()
    assert await who(one_connection, ANYBODY) == ("anon", None)


async def test_going_on_after_the_connection_was_lost_is_reported_as_well(one_connection: Database) -> None:
    async def go_on() -> None:
        async with one_connection.service() as connection:
            with pytest.raises(asyncpg.PostgresConnectionError):
                await connection.execute("reset role; select pg_terminate_backend(pg_backend_pid())")
            await connection.fetchval("select 1")

    with pytest.raises(DatabaseUnavailable):
        await go_on()


async def test_a_mistaken_call_is_not_taken_for_an_unreachable_database(one_connection: Database) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with one_connection.service() as connection:
            await connection.fetchval("select $1::int", 1, 2)

    assert await who(one_connection, ANYBODY) == ("anon", None)


async def test_a_server_that_only_reads_is_out_of_order(one_connection: Database) -> None:
    async def write() -> None:
        async with one_connection.service() as connection:
            await connection.execute("set transaction read only")
            await connection.execute("delete from webhook_inbox")

    with pytest.raises(DatabaseUnavailable, match="read only sql transaction"):
        await write()

    assert await who(one_connection, ANYBODY) == ("anon", None)


async def test_a_slow_statement_is_cancelled(database_url: str) -> None:
    database = await Database.connect(
        config.DatabaseSettings(url=PostgresUrl(database_url), statement_timeout_seconds=0.05)
    )
    with pytest.raises(DatabaseTimeout):
        async with database.service() as connection:
            await connection.execute("select pg_sleep(60)")
    await database.close()


async def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    settings = config.DatabaseSettings(url=PostgresUrl(f"postgresql://zmartd:hunter2@/zmart?host={tmp_path}"))

    with pytest.raises(DatabaseUnavailable, match=f"Postgres at {tmp_path}/zmart cannot be used") as raised:
        await Database.connect(settings)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://zmartd:hunter2@db/zmart", "postgresql://zmartd:hunter2@db:port/zmart"]
)
async def test_an_unreadable_url_is_explained_without_being_quoted(url: str) -> None:
    settings = config.DatabaseSettings(url=cast(PostgresUrl, Secret(url)))  # PostgresUrl refuses it
    for connect in (lambda: Database.connect(settings), lambda: migrate(url)):
        with pytest.raises(DatabaseNotReady, match="postgresql://user:password@host:port/database") as raised:
            await connect()
        assert "hunter2" not in str(raised.value)


async def test_an_unknown_user_is_refused_without_a_word_of_the_url(
    postgres_server: PostgresServer,
) -> None:
    url = url_as(postgres_server.dsn, "no_such_user")

    with pytest.raises(DatabaseNotReady, match="refuses the user or the password"):
        await Database.connect(config.DatabaseSettings(url=PostgresUrl(url)))


async def test_a_login_that_may_not_take_the_roles_is_told_which_grant_is_missing(
    database_url: str, stranger: str
) -> None:
    settings = config.DatabaseSettings(url=PostgresUrl(url_as(database_url, stranger)))

    with pytest.raises(DatabaseNotReady, match="GRANT anon, authenticated, service_role TO"):
        await Database.connect(settings)


@pytest.fixture
def stranger(postgres_server: PostgresServer) -> Iterator[str]:
    """A login that is no member of any role."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.dsn_of("postgres"))
        await connection.execute(statement)
        await connection.close()

    run(execute(f"create role stranger {LOGIN}"))
    yield "stranger"
    run(execute("drop role stranger"))


async def insert_user(connection: asyncpg.Connection) -> None:
    await connection.execute("insert into users (wallet) values ($1)", ALICE.wallet)
