"""Behind a real PgBouncer: what is found out, what is refused, and that nobody meets what others left."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.debian_packages import NotToBeHad
from tests.integration.store.pooled_process import CALLERS, Seen, holder
from tests.integration.store.rows import insert, insert_market, insert_position, wallet
from tests.outside_servers import PostgresServer
from tests.pgbouncer import PgBouncer
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import DATABASE, EmbeddedPostgres
from zmartd.indexer.replay.checksums import CHECKED_TABLES, table_checksums
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable
from zmartd.store.postgres.migrations import all_migrations, migrate, pending
from zmartd.store.postgres.pooling import Pooling, find_pooling
from zmartd.store.postgres.rls import Caller

Starting = Callable[..., Awaitable[PgBouncer]]

ALICE = Caller(wallet("alice"))
HELD = "select user_wallet from user_positions"
PROCESSES = (1, 2)
_MANY_ROWS = """
insert into protocol_config_history (tx_signature, event_index, slot, event_type)
select repeat('1', 84) || translate(number::text, '0', 'z'), 0, number, 'GlobalConfigUpdated'
  from generate_series(1000, 3500) as number
"""


@pytest.fixture(autouse=True)
def _without_another_pooler(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("pooled"):
        pytest.skip("these tests have poolers of their own")


@pytest.fixture
async def pgbouncer(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Starting]:
    """Starts a PgBouncer with the given settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: str) -> PgBouncer:
            directory = tmp_path / "-".join(["pgbouncer", *settings.values()])
            try:
                return await stack.enter_async_context(PgBouncer(directory, postgres_server, **settings))
            except NotToBeHad as error:
                pytest.skip(str(error))

        yield start


def _settings(url: str, **settings: Any) -> config.DatabaseSettings:
    return config.DatabaseSettings(url=PostgresUrl(url), **({"pool_size": 3} | settings))


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Database]:
    database = await Database.connect(_settings(url, **settings))
    try:
        yield database
    finally:
        await database.close()


async def test_programs_that_share_connections_meet_neither_statements_nor_rows_of_each_other(
    database_url: str, pgbouncer: Starting
) -> None:
    async with opened(database_url) as database, database.service() as connection:
        market = await insert_market(connection, "m")
        for process in PROCESSES:
            for number in range(CALLERS):
                await insert(connection, "users", wallet=holder(process, number))
                await insert_position(connection, market, holder(process, number))
    pooler = await pgbouncer(default_pool_size="3")

    seen = await asyncio.gather(*(_seen_by(number, pooler.url_of(DATABASE)) for number in PROCESSES))

    one, other = seen
    assert len(one.backends & other.backends) == 3, "they did not share their connections"
    for what in seen:
        assert (what.failed, what.wrong_answers, what.foreign_rows) == ({}, [], [])


async def _seen_by(number: int, url: str) -> Seen:
    module = "tests.integration.store.pooled_process"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, url, str(number)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return msgspec.json.decode(output, type=Seen)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("transaction", Pooling.TRANSACTION),
        ("session", Pooling.SESSION),
        ("statement", Pooling.TRANSACTION),
    ],
)
async def test_a_pooler_is_found_out(
    database_url: str, pgbouncer: Starting, mode: str, found: Pooling
) -> None:
    pooler = await pgbouncer(pool_mode=mode)
    assert await find_pooling(pooler.url_of(DATABASE)) is found
    assert await find_pooling(database_url) is Pooling.NONE


@pytest.mark.parametrize(
    ("mode", "pooled"),
    [("transaction", "auto"), ("transaction", "yes"), ("session", "auto"), ("session", "no")],
)
async def test_a_pooler_is_no_hindrance(
    database_url: str, pgbouncer: Starting, mode: str, pooled: config.Pooled
) -> None:
    pooler = await pgbouncer(pool_mode=mode)
    async with opened(pooler.url_of(DATABASE), pooled=pooled) as database:
        await _work(database)


async def test_a_connection_of_its_own_may_be_treated_as_a_shared_one(database_url: str) -> None:
    async with opened(database_url, pooled="yes") as database:
        await _work(database)


async def _work(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for name in ("alice", "bob"):
            await insert_position(connection, market, wallet(name))
    for _ in range(3):
        async with database.reader(ALICE) as mine:
            assert [row["user_wallet"] for row in await mine.fetch(HELD)] == [ALICE.wallet]
        async with database.service_reader() as all_of_them:
            assert len(await all_of_them.fetch(HELD)) == 2


async def test_a_shared_connection_is_not_relied_on_where_that_is_said(
    database_url: str, pgbouncer: Starting
) -> None:
    pooler = await pgbouncer()
    with pytest.raises(DatabaseNotReady, match=r"set database\.pooled to auto or yes"):
        async with opened(pooler.url_of(DATABASE), pooled="no"):
            pass


async def test_a_lost_session_is_explained_to_those_who_ask_for_the_daemon_s_health(
    database_url: str,
) -> None:
    async with opened(database_url, pooled="no", pool_size=1) as database:
        async with database.service() as connection:
            await connection.execute("deallocate all")
        with pytest.raises(DatabaseNotReady, match="is behind a transaction pooler"):
            async with database.service_reader() as reader:
                await reader.fetchval("select 1")


async def test_a_pooler_that_comes_in_between_later_is_noticed(
    database_url: str, embedded_postgres: EmbeddedPostgres, pgbouncer: Starting, tmp_path: Path
) -> None:
    pooler = await pgbouncer()
    link = tmp_path / "sockets"
    link.symlink_to(_sockets(embedded_postgres.dsn))
    url = f"postgresql://zmartd@/{DATABASE}?host={link}"

    async with opened(url) as database, database.service() as first:
        link.unlink()
        link.symlink_to(_sockets(pooler.url_of(DATABASE)))
        async with database.service_reader() as second:
            for reads in (first, second):
                assert await reads.fetchval("select current_user::text") == "service_role"
            statements = await second.fetchval("select count(*) from pg_prepared_statements")
    assert statements == 0


def _sockets(url: str) -> str:
    return url.partition("host=")[2].partition("&")[0].replace("%2F", "/")


async def test_nothing_is_left_on_a_shared_connection(database_url: str, pgbouncer: Starting) -> None:
    name = DATABASE
    pooler = await pgbouncer(default_pool_size="1")
    administrator = await asyncpg.connect(database_url)
    altered = f"alter database {await administrator.fetchval('select current_database()')}"
    await administrator.execute(f"{altered} set jit = on")  # asyncpg turns it off for a while
    watcher = await asyncpg.connect(
        pooler.url_of(name), statement_cache_size=0, server_settings={"application_name": "zmartd"}
    )
    try:
        before = await _state(watcher)
        async with opened(pooler.url_of(name)) as database:
            await _work(database)
            async with database.service_reader() as reader:
                assert await reader.fetchval("select $1::numeric[]", [1, 2]) == [1, 2]
            async with database.caller(ALICE) as connection:
                assert await connection.fetchval("select $1::bool[]", [True]) == [True]
            async with database.service() as connection:
                await table_checksums(connection)
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with database.reader(ALICE) as reader:
                    await reader.fetchval("select 1 / $1::int", 0)
            assert await _state(watcher) == before
    finally:
        await watcher.close()
        await administrator.execute(f"{altered} reset jit")
        await administrator.close()


async def _state(connection: asyncpg.Connection) -> tuple[int, list[tuple[str, str]]]:
    """The named statements and the settings of the backend behind a connection.

    Those of extensions and languages appear once the backend loads them.
    """
    statements = await connection.fetchval("select count(*) from pg_prepared_statements where name <> ''")
    settings = await connection.fetch(
        "select name, setting from pg_settings where name not like '%.%' order by name"
    )
    return statements, [(row["name"], row["setting"]) for row in settings]


async def test_a_read_and_a_transaction_have_their_time_limit_on_a_shared_connection(
    database_url: str, pgbouncer: Starting
) -> None:
    pooler = await pgbouncer()
    shown = """
    select current_setting('statement_timeout') || current_setting('idle_in_transaction_session_timeout')
    """
    async with opened(pooler.url_of(DATABASE), statement_timeout_seconds=3.5) as database:
        async with database.reader(ALICE) as reader:
            assert await reader.fetchval(shown) == "3500ms1min"
        async with database.service() as connection:
            assert await connection.fetchval(shown) == "3500ms1min"
    async with opened(pooler.url_of(DATABASE), statement_timeout_seconds=0.05) as database:
        with pytest.raises(DatabaseTimeout):
            async with database.reader(ALICE) as reader:
                await reader.fetchval("select pg_sleep(60)")


@pytest.mark.parametrize("pooled", ["auto", "yes"])
async def test_a_table_of_many_rows_has_the_checksum_of_all_of_them(database_url: str, pooled: str) -> None:
    table = "protocol_config_history"
    async with opened(database_url, pooled=pooled) as database:
        async with database.service() as connection:
            await connection.execute(_MANY_ROWS)
        async with database.service() as connection:
            query, left_out = CHECKED_TABLES[table]
            facts = [row["fact"] for row in await connection.fetch(query, left_out)]
            found = await table_checksums(connection)
    assert len(facts) == 2_501
    assert found[table] == sha256("".join(f"{fact}\n" for fact in facts).encode()).hexdigest()


async def test_migrations_are_applied_once_through_a_pooler(
    empty_database_url: str, pgbouncer: Starting
) -> None:
    pooler = await pgbouncer(default_pool_size="3")
    url = pooler.url_of(empty_database_url.rpartition("/")[2].partition("?")[0])
    assert await pending(url) == all_migrations()
    applied = await asyncio.gather(*(migrate(url) for _ in range(3)))
    assert sorted(one.number for some in applied for one in some) == [one.number for one in all_migrations()]
    assert await pending(url) == ()


@pytest.mark.parametrize(
    ("mode", "pooled", "said"),
    [
        (
            "transaction",
            "auto",
            "^through a transaction pooler: each transaction brings",
        ),
        (
            "session",
            "auto",
            "through a session pooler, .* round trips, which database.pooled = no spares",
        ),
        ("session", "no", "through a session pooler, where each connection takes up one to Postgres$"),
        ("transaction", "no", "is behind a transaction pooler"),
        ("statement", "auto", "set pool_mode of PgBouncer to transaction"),
    ],
)
async def test_the_check_names_what_stands_between(
    database_url: str, pgbouncer: Starting, tmp_path: Path, mode: str, pooled: str, said: str
) -> None:
    pooler = await pgbouncer(pool_mode=mode)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zmartd", "check", "--json"),
        stdout=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=environment
        | {
            "ZMARTD_DATABASE_URL": pooler.url_of(DATABASE),
            "ZMARTD_DATABASE_POOLED": pooled,
            "ZMARTD_REDIS_URL": "redis://127.0.0.1:1/0",
            "ZMARTD_SOLANA_RPC_URL": "http://127.0.0.1:1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
    )
    output, _ = await process.communicate()
    found = [one for one in json.loads(output) if one["check"] in {"migrations", "pooler"}]
    assert any(re.search(said, text) for one in found for text in (one["detail"], one["remedy"])), found


async def test_a_pooler_without_room_for_another_client_is_explained(
    database_url: str, pgbouncer: Starting
) -> None:
    url = (await pgbouncer(max_client_conn="2")).url_of(DATABASE)

    async def three() -> None:
        async with opened(url, pooled="yes"), opened(url, pooled="yes"), opened(url, pooled="yes"):
            pass

    with pytest.raises(DatabaseUnavailable, match=r"its pooler lets in no more clients.*max_client_conn"):
        await three()


async def test_a_pooler_whose_connections_stay_in_use_is_explained(
    database_url: str, pgbouncer: Starting
) -> None:
    url = (await pgbouncer(default_pool_size="1", query_wait_timeout="1")).url_of(DATABASE)
    async with opened(url) as database, database.service():
        with pytest.raises(DatabaseUnavailable, match=r"stayed in use.*: raise the pooler's pool size"):
            async with database.service_reader() as reader:
                await reader.fetchval("select 1")


@pytest.mark.parametrize(
    ("user", "database", "options", "said"),
    [
        ("nobody", DATABASE, "", "refuses the user or the password in database.url"),
        (None, "nothing", "", "knows no such database"),
        (None, DATABASE, "&geqo=off", "refuses an option in database.url"),
    ],
)
async def test_what_a_pooler_does_not_accept_in_the_url_is_explained(
    database_url: str, pgbouncer: Starting, user: str | None, database: str, options: str, said: str
) -> None:
    url = (await pgbouncer()).url_of(database, user) + options
    for attempt in (lambda: migrate(url), lambda: Database.connect(_settings(url))):
        with pytest.raises(DatabaseNotReady, match=f"the pooler at .* {said}"):
            await attempt()
