"""Servers and databases that tests run on: real ones, started here, and empty for each test."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import asyncpg
import hypothesis
import pytest
import structlog
from redis import Redis

from tests import frame_check, outside_servers
from tests.debian_packages import NotToBeHad
from tests.event_loop import run
from tests.outside_servers import OutsidePostgres, PostgresServer
from tests.patience import patient_database
from tests.pgbouncer import PgBouncer
from tests.statements import execute
from zmartd.embedded.postgres import DATABASE, Durability, EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

_numbers = count(1)
frame_check.watch()

# structlog's own tracebacks show every local variable, which takes seconds of the event loop for each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# An example may take as long as the machine and the measurement of coverage need for it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


LONGEST = (
    "tests/stress/test_faults_on_purpose.py",
    "tests/integration/http/contract/test_schemathesis.py",
    "tests/stress/test_ws_on_purpose.py",
    "tests/e2e/test_dev_demo.py",
    "tests/stress/test_tasks_on_purpose.py",
    "tests/e2e/test_dev.py",
    "tests/e2e/test_quickstart.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/streams/test_resume_across_restarts.py",
    "tests/integration/indexer/test_truncated_instructions.py",
    "tests/integration/commands/test_operator_commands.py",
)
"""Files that take long, the longest first: they begin before all others, so that none is alone at the end."""

_SUMMARY = "summary"
_last_reports: dict[str, float] = {}
"""By the process that runs tests, when it ended one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pooled", action="store_true", help="lead every database_url through PgBouncer in transaction mode"
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """All tests together use every core, of which they leave a third idle where each has one process.

    Tests that are named run in this process, which is ready sooner, and so do all on servers that are there.
    """
    if config.args_source is not config.ArgsSource.TESTPATHS or outside_servers.are_named():
        return 0
    cores = len(os.sched_getaffinity(0))
    return cores + cores // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.location[0], len(LONGEST)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    worker = getattr(report, "node", None)
    if worker is not None:
        _last_reports[worker.gateway.id] = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes what tests gave to `tell_reader`, and how long processes had no test left to run."""
    end = max(_last_reports.values(), default=0.0)
    idle = (f"{worker} {end - last:.0f} s" for worker, last in sorted(_last_reports.items()))
    if _last_reports:
        terminalreporter.write_line(f"idle at the end: {', '.join(idle)}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == _SUMMARY:
                terminalreporter.write_line(f"{report.nodeid}: {value}")


DISCONNECT = """
do $$
begin
    loop
        perform pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid();
        exit when not found;
        perform pg_sleep(0.001);
        perform pg_stat_clear_snapshot();
    end loop;
end
$$
"""
"""Returns when no other backend is left. Postgres' own wait for one looks every 100 ms only."""
EMPTY = """
do $$
declare
    name text;
begin
    set local session_replication_role = replica;
    for name in select tablename from pg_tables
                 where schemaname = 'public' and tablename <> 'stream_epochs' loop
        execute format('delete from public.%I', name);
    end loop;
    insert into public.protocol default values;
end
$$
"""
SCHEMA = """
with relations as (
    select oid, relname, relkind, relnatts from pg_class
     where relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
)
select relname || ' of ' || relnatts || ' columns' as name from relations where relkind in ('r', 'p', 'v')
union all
select relname from relations where relkind not in ('r', 'p', 'v')
union all
select oid::regprocedure::text || ' ' || md5(prosrc) from pg_proc
 where pronamespace::regnamespace::text !~ '^(pg_|information_schema$)'
union all
select relname || '.' || tgname || ' ' || tgenabled::text from pg_trigger
  join relations on relations.oid = tgrelid
union all
select relname || '.' || conname from pg_constraint join relations on relations.oid = conrelid
union all
select relname || '.' || polname from pg_policy join relations on relations.oid = polrelid
union all
select concat_ws(' ', 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
                 rolbypassrls)
  from pg_roles where rolname !~ '^pg_'
union all
select roleid::regrole || ' is granted to ' || member::regrole from pg_auth_members
union all
select concat_ws(' ', 'setting', setdatabase, setrole::regrole, setconfig) from pg_db_role_setting
"""
"""What a test may have changed and left so, but for rows."""
LARGE = """
select oid::regclass::text as name from pg_class
 where relnamespace = 'public'::regnamespace and relkind = 'r' and pg_relation_size(oid) > 1000000
"""
"""Tables that have been large. Every scan would still read all their pages; vacuumed, they would be known to
be empty, and plans be made for that until somebody counts again.
"""


@pytest.fixture(autouse=True)
def _untouched_process() -> Iterator[None]:
    """Commands configure the logging and the garbage collection of their process, which here is that of all
    tests.
    """
    root = logging.getLogger()
    handlers, level, settings = root.handlers[:], root.level, structlog.get_config()
    yield
    structlog.configure(**settings)
    root.handlers[:] = handlers
    root.setLevel(level)
    gc.enable()


@pytest.fixture
def tell_reader(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Puts a line at the end of pytest's output, also where the test runs in another process."""
    return lambda line: record_property(_SUMMARY, line)


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PostgresServer]:
    """A running Postgres."""
    server: PostgresServer
    if outside := os.environ.get(outside_servers.POSTGRES):
        server = OutsidePostgres(outside)
    else:
        server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), Durability.EPHEMERAL)
    run(server.start())
    yield server
    run(server.stop())


@pytest.fixture(scope="session")
def embedded_postgres(postgres_server: PostgresServer) -> EmbeddedPostgres:
    """A Postgres on a socket: of which a test has to know where it is, or to read what it is sent."""
    if not isinstance(postgres_server, EmbeddedPostgres):
        pytest.skip("this is about a server on a socket")
    return postgres_server


@pytest.fixture(scope="session")
def migrated_database_url(postgres_server: PostgresServer) -> str:
    """The URL of the one migrated database. Tests take `database_url`, which is emptied after each."""
    run(migrate(postgres_server.dsn))
    return postgres_server.dsn


@pytest.fixture(scope="session")
def empty_migrated_database(
    migrated_database_url: str, postgres_server: PostgresServer
) -> Iterator[Callable[[], None]]:
    """Empties it. On a connection that stays open, because a new one would have to read the schema first."""
    loop = asyncio.new_event_loop()
    url = migrated_database_url
    if isinstance(postgres_server, OutsidePostgres):
        url = postgres_server.administrator
    connection = loop.run_until_complete(asyncpg.connect(url))

    async def schema() -> set[str]:
        return {row["name"] for row in await connection.fetch(SCHEMA)}

    own = loop.run_until_complete(schema())

    async def empty() -> None:
        nonlocal own
        await connection.execute(DISCONNECT)
        before, own = own, await schema()
        await connection.execute(EMPTY)
        if large := await connection.fetch(LARGE):
            # What refers to them is empty, too.
            await connection.execute(f"truncate {', '.join(row['name'] for row in large)} cascade")
        assert own == before, f"this test has changed what others use: {sorted(own ^ before)}"

    yield lambda: loop.run_until_complete(empty())
    loop.run_until_complete(connection.close())
    loop.close()


@pytest.fixture
def database_url(
    migrated_database_url: str,
    empty_migrated_database: Callable[[], None],
    request: pytest.FixtureRequest,
) -> Iterator[str]:
    """The URL of a migrated database with nothing in it. Its schema is not a test's to change."""
    pooled = request.config.getoption("pooled")
    yield request.getfixturevalue("pooler").url_of(DATABASE) if pooled else migrated_database_url
    empty_migrated_database()


@pytest.fixture
def pooler(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """A transaction pooler in front of Postgres, with fewer connections to it than a test opens."""
    try:
        started = PgBouncer(tmp_path_factory.mktemp("pgbouncer"), postgres_server, default_pool_size="3")
    except NotToBeHad as error:
        pytest.skip(str(error))
    run(started.start())
    yield started
    run(started.stop())


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without any table, which only this test uses."""
    name, administration = f"empty_{next(_numbers)}", postgres_server.dsn_of("postgres")
    run(execute(administration, f"create database {name} template template0 strategy file_copy"))
    yield postgres_server.dsn_of(name)
    run(execute(administration, f"drop database {name} with (force)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's database."""
    opened = await Database.connect(patient_database(database_url))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running server that speaks Redis' protocol."""
    if outside := os.environ.get(outside_servers.REDIS):
        yield outside
        return
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    run(server.start())
    yield server.url
    run(server.stop())


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """The URL of a Redis-protocol server that holds nothing yet."""
    with Redis.from_url(redis_server_url) as client:
        client.flushall()
    return redis_server_url


@pytest.fixture(autouse=True)
def described_frames() -> Iterator[None]:
    """Every frame of a test is as the AsyncAPI document says."""
    yield
    assert not frame_check.faults()
