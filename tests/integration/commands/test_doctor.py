"""What `zmartd check` finds beyond the settings, on real servers that have been given each illness."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp.test_utils import make_mocked_request
from click.testing import CliRunner
from prometheus_client import start_http_server
from redis import Redis

from tests.event_loop import run
from tests.outside_servers import LOGIN, url_as
from tests.ports import free_port
from tests.statements import execute
from zmartd.cli import main
from zmartd.clock import SystemClock
from zmartd.doctor.catalogue import CHECKS
from zmartd.http.kit.client_address import UNTRUSTED, TrustedProxies
from zmartd.store import catalog, schema
from zmartd.store.postgres.index_statements import index_statements
from zmartd.store.postgres.migrations import migrate

Environment = dict[str, str | None]
SHARED = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
NOBODY = "127.0.0.1:1"


@pytest.fixture
def environment(empty_database_url: str, redis_url: str) -> Environment:
    """The environment of a daemon that has a database of its own without tables, and no chain."""
    ours: Environment = {name: None for name in os.environ if name.startswith(("ZMARTD_", "PG"))}
    return ours | {
        "ZMARTD_DATABASE_URL": empty_database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": f"http://{NOBODY}",
        "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2",
        "ZMARTD_AUTH_JWT_SECRET": SHARED,
        "ZMARTD_HELIUS_AUTHORIZATION": SHARED[::-1],
        "ZMARTD_SERVER_PORT": str(free_port()),
        "ZMARTD_OPERATOR_PORT": str(free_port()),
    }


def check(environment: Environment, *options: str) -> list[dict[str, Any]]:
    result = CliRunner(env=environment).invoke(main, ["check", "--json", *options])
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert not any("check broke" in one["detail"] for one in found)
    return found


def of(name: str, found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["verdict"], one["detail"], one["remedy"]) for one in found if one["check"] == name]


def test_whatever_is_missing_hides_nothing_else(environment: Environment, tmp_path: Path) -> None:
    """Eight things are wrong at once, and each is found with what mends it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        environment |= {
            "ZMARTD_LOG_LEVEL": "loud",
            "ZMARTD_AUTH_JWT_SECRET": None,
            "ZMARTD_HELIUS_AUTHORIZATION": None,
            "ZMARTD_SOLANA_AUTHORITY_KEYPAIR_PATH": str(tmp_path / "absent.json"),
            "ZMARTD_REDIS_URL": f"redis://{NOBODY}/0",
            "ZMARTD_SERVER_HOST": "127.0.0.1",
            "ZMARTD_SERVER_PORT": str(taken.getsockname()[1]),
            "ZMARTD_OPERATOR_HOST": "127.0.0.1",
        }
        found = check(environment)
    failures = {(one["check"], one["detail"]) for one in found if one["verdict"] == "failed"}
    for name, said in (
        ("configuration", "$ZMARTD_LOG_LEVEL: 'loud' does not fit"),
        ("configuration", "auth.jwt_secret: "),
        ("configuration", "helius.authorization: "),
        ("configuration", "absent.json cannot be read"),
        ("redis", f"Redis at {NOBODY} does not answer"),
        ("rpc", NOBODY),
        ("ports", "server: something else listens on 127.0.0.1:"),
        ("migrations", "migrations are not applied: 0001_"),
    ):
        assert any(check == name and said in detail for check, detail in failures), (name, said, failures)
    assert all(one["remedy"] for one in found if one["verdict"] == "failed")
    assert {one["check"] for one in found} == {one.name for one in CHECKS}
    assert of("eviction", found) == [("skipped", "not looked at, because of redis", "")]
    assert of("rights", found)[0][0] == "ok"


def test_a_file_that_cannot_be_read_hides_only_what_may_be_in_it(
    environment: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "zmartd.toml"
    environment |= {"ZMARTD_CONFIG": str(file), "ZMARTD_REDIS_URL": None}
    for text, said in (
        (None, "there is no such file"),
        ("[redis]\nurl = 'redis://", "this is not valid TOML"),
    ):
        if text is not None:
            file.write_text(text)
        found = check(environment)
        assert said in of("configuration", found)[0][1]
        assert of("redis", found) == [("skipped", "not looked at, because of redis.url", "")]
        assert of("database", found)[0][0] == "ok"


def test_a_plain_owner_gets_the_sql_for_an_administrator(
    environment: Environment, empty_database_url: str
) -> None:
    name = re.search(r"empty_\d+", empty_database_url)
    assert name is not None
    run(
        execute(
            empty_database_url,
            f"do $$ begin create role guest {LOGIN}; exception when duplicate_object then null; end $$",
            f"alter database {name[0]} owner to guest",
        )
    )
    environment["ZMARTD_DATABASE_URL"] = url_as(empty_database_url, "guest")
    try:
        verdicts = of("rights", check(environment))
        assert {verdict for verdict, _, _ in verdicts} == {"failed"}
        assert verdicts[-1][2].startswith("as an administrator of this database: GRANT anon, ")
        refused = CliRunner(env=environment).invoke(main, ["migrate"])
        assert refused.exit_code == 1
        assert "nothing was changed" in refused.stderr
        assert "GRANT anon, authenticated, service_role TO guest" in refused.stderr
    finally:
        run(execute(empty_database_url, f"alter database {name[0]} owner to current_user", "drop role guest"))


def test_a_login_that_owns_nothing_is_told_apart_from_one_that_may_do_nothing(
    environment: Environment, empty_database_url: str
) -> None:
    """Daemons own nothing where another login migrates; a reader is no login for a daemon."""
    owner = urlsplit(empty_database_url).username

    async def prepare() -> None:
        await schema.bring_up_to_date(empty_database_url)
        await execute(
            empty_database_url,
            f"create role daemon noinherit {LOGIN}",
            "grant anon, authenticated, service_role to daemon",
            f"create role reader {LOGIN}",
            "grant usage on schema public to reader",
            "grant select on all tables in schema public to reader",
        )

    run(prepare())
    try:
        environment["ZMARTD_DATABASE_URL"] = url_as(empty_database_url, "daemon")
        found = check(environment)
        [(verdict, detail, _)] = of("rights", found)
        assert (verdict, detail.rpartition(" and ")[2]) == ("ok", f"not migrate, which {owner} does")
        assert of("migrations", found) == [("ok", "all are applied", "")]

        environment["ZMARTD_DATABASE_URL"] = url_as(empty_database_url, "reader")
        found = check(environment)
        [(verdict, detail, remedy)] = of("rights", found)
        assert (verdict, detail) == ("failed", "reader may not act as anon, authenticated, service_role")
        assert "GRANT anon, authenticated, service_role TO reader" in remedy
        assert remedy.endswith(f"or give the daemon's login in database.url: the tables belong to {owner}")
        assert of("migrations", found) == [("skipped", "not looked at, because of rights", "")]
    finally:
        run(
            execute(
                empty_database_url,
                "drop owned by reader",
                "drop owned by daemon",
                "drop role reader",
                "drop role daemon",
            )
        )


def test_the_indexes_that_migrations_make_are_those_that_are_there(empty_database_url: str) -> None:
    async def names() -> set[str]:
        await migrate(empty_database_url)
        connection = await asyncpg.connect(empty_database_url)
        try:
            return {one.name for one in await catalog.indexes(connection)}
        finally:
            await connection.close()

    present, made = run(names()), set(index_statements())
    assert made <= present
    others = {name for name in present - made if not name.endswith(("_pkey", "_key", "_idx"))}
    assert {name for name in others if "_events_" not in name} == {"markets_by_trigrams"}


def test_an_index_that_is_missing_is_made_by_the_fix_as_the_migration_made_it(
    environment: Environment, empty_database_url: str
) -> None:
    name = "task_runs_instant"
    definition = f"select pg_get_indexdef('public.{name}'::regclass)"

    async def lose() -> str:
        await schema.bring_up_to_date(empty_database_url)
        before = await _value(empty_database_url, definition)
        await execute(empty_database_url, f"drop index {name}")
        return str(before)

    before = run(lose())
    [(verdict, detail, remedy)] = of("indexes", check(environment))
    assert (verdict, detail.partition(",")[0]) == ("warning", f"{name} is missing")
    assert remedy.startswith(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON public.task_runs")
    found = check(environment, "--fix")
    assert [one["detail"] for one in found if one["fixed"]] == [f"mended: {detail}"]
    assert run(_value(empty_database_url, definition)) == before
    assert [one[0] for one in of("indexes", check(environment))] == ["ok"]


async def _value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_dead_rows_a_table_without_guards_and_a_large_database_are_noticed(
    environment: Environment, empty_database_url: str
) -> None:
    async def fill() -> None:
        await schema.bring_up_to_date(empty_database_url)
        await execute(
            empty_database_url,
            "create table public.notes (id int) with (autovacuum_enabled = off)",
            "grant select on public.notes to anon",
            "insert into public.notes select generate_series(1, 60000)",
            "delete from public.notes",
            "select pg_stat_force_next_flush()" if await _flushes(empty_database_url) else "select 1",
        )

    run(fill())
    environment["ZMARTD_ALERTS_DATABASE_MAX_BYTES"] = "1000000"
    found = check(environment)
    [(verdict, detail, remedy)] = of("row level security", found)
    assert (verdict, detail.partition(" has")[0]) == ("warning", "notes")
    assert remedy == 'ALTER TABLE public."notes" ENABLE ROW LEVEL SECURITY;'
    assert of("size", found)[0][0] == "warning"

    counted = "select n_dead_tup > 50000 from pg_stat_user_tables where relname = 'notes'"
    while not run(_value(empty_database_url, counted)):
        time.sleep(0.05)
    [(verdict, detail, remedy)] = of("bloat", check(environment))
    assert (verdict, remedy) == ("warning", 'VACUUM (ANALYZE) public."notes";')
    assert detail.startswith("60000 rows of notes are dead beside 0")
    assert "mended: " + detail in [one["detail"] for one in check(environment, "--fix")]


async def _flushes(url: str) -> bool:
    return bool(await _value(url, "select to_regproc('pg_stat_force_next_flush') is not null"))


def test_rows_that_should_have_gone_are_noticed(environment: Environment, empty_database_url: str) -> None:
    async def fill(days: int) -> None:
        await execute(
            empty_database_url,
            "insert into idempotency_keys (subject, key, request_hash, expires_at)"
            f" values ('w', '{days}', 'x', now() - interval '{days} days')",
        )

    run(schema.bring_up_to_date(empty_database_url))
    run(fill(0))
    assert of("retention", check(environment))[0][0] == "ok"
    run(fill(2))
    [(verdict, detail, remedy)] = of("retention", check(environment))
    assert (verdict, detail) == (
        "warning",
        "rows of idempotency_keys should have been deleted over a day ago",
    )
    assert "stream_retention" in remedy


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client
        client.config_set("maxmemory", "0")


def test_a_redis_that_is_nearly_full_is_noticed(environment: Environment, redis: Redis) -> None:
    assert of("redis memory", check(environment))[0][0] == "ok"
    used = int(redis.info("memory")["used_memory"])
    redis.config_set("maxmemory", str(used + used // 20))
    [(verdict, detail, remedy)] = of("redis memory", check(environment))
    assert verdict == "warning"
    assert "% of" in detail
    assert "CONFIG SET maxmemory" in remedy


def test_postgres_that_loses_what_it_acknowledged_and_lets_in_too_few_is_noticed(
    environment: Environment, empty_database_url: str
) -> None:
    name = empty_database_url.rpartition("/")[2].partition("?")[0] or "postgres"
    run(execute(empty_database_url, f"alter database {name} set synchronous_commit = off"))
    environment["ZMARTD_DATABASE_POOL_SIZE"] = "1000"
    found = {detail for verdict, detail, _ in of("postgres", check(environment)) if verdict != "ok"}
    assert any("synchronous_commit is off" in detail for detail in found)
    assert any(detail.startswith("database.pool_size is 1000, and Postgres lets in") for detail in found)

    run(execute(empty_database_url, f"alter database {name} set default_transaction_read_only = on"))
    found = {detail for verdict, detail, _ in of("postgres", check(environment)) if verdict == "failed"}
    assert any(detail.startswith("transactions are read-only here") for detail in found)


def test_a_machine_with_few_descriptors_says_which_limit_is_needed(environment: Environment) -> None:
    environment["ZMARTD_SERVER_MAX_CONNECTIONS"] = "1000000"
    [(verdict, detail, remedy)] = of("descriptors", check(environment))
    if "no limit" not in detail:
        assert verdict == ("warning" if int(detail.split()[0]) < 1_000_000 else "ok")
        assert verdict == "ok" or remedy.startswith("LimitNOFILE=100")


def test_a_clock_that_differs_is_noticed(environment: Environment) -> None:
    found = check(environment)
    assert [of(name, found)[0][0] for name in ("clock", "clock of redis")] == ["ok", "ok"]


@pytest.fixture
def metrics() -> Iterator[str]:
    """The port at which the metrics of this process are, as those of a daemon are at operator.port."""
    server, thread = start_http_server(0, "127.0.0.1")
    yield str(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


def test_requests_through_a_proxy_that_is_not_trusted_are_noticed(
    environment: Environment, metrics: str
) -> None:
    [(verdict, detail, _)] = of("proxies", check(environment))
    assert (verdict, detail) == ("skipped", "not looked at, because no daemon runs on operator.port")
    environment["ZMARTD_OPERATOR_PORT"] = metrics
    before = UNTRUSTED.total()
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": "198.51.100.1"})
    TrustedProxies([], SystemClock()).client_of_request(request)
    assert UNTRUSTED.total() == before + 1
    TrustedProxies(["10.0.0.0/8"], SystemClock()).client_of_request(request)
    TrustedProxies([], SystemClock(), "Forwarded").client_of_request(request)
    assert UNTRUSTED.total() == before + 1
    [(verdict, detail, remedy)] = of("proxies", check(environment))
    assert (verdict, detail.partition(" came")[0]) == ("warning", f"{before + 1} requests")
    assert remedy.startswith("set server.trusted_proxies")
    environment["ZMARTD_SERVER_TRUSTED_PROXIES"] = "127.0.0.1"
    assert of("proxies", check(environment))[0][0] == "ok"


def test_the_table_for_people_has_a_line_for_each_finding_and_what_mends_it(
    environment: Environment,
) -> None:
    result = CliRunner(env=environment).invoke(main, ["check"])
    assert result.exit_code == 1
    assert re.search(
        r"^FAIL +migrations +\d+ migrations are not applied: .*\n +-> run `zmartd migrate`$",
        result.stdout,
        re.MULTILINE,
    )
    assert re.search(r"\n\n\d+ failed, \d+ warnings, \d+ ok, \d+ not looked at\n$", result.stdout)
    assert "\x1b" not in result.stdout


def test_every_check_is_on_the_page_and_has_what_it_needs_before_it() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(one.name, one.about) for one in CHECKS]
    seen: set[str] = set()
    for one in CHECKS:
        assert set(one.needs) <= seen, one.name
        assert one.name not in seen
        seen.add(one.name)
