from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection
from click.testing import CliRunner

from tests.integration.store.rows import (
    NOON,
    insert,
    insert_market,
    insert_registration,
    market_id,
    signature,
    wallet,
)
from tests.outside_servers import PostgresServer
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.cli import main
from zmartd.market.lifecycle import MarketState
from zmartd.store import schema
from zmartd.store.intents import Intent, Standing, claim
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseUnavailable
from zmartd.store.postgres.migration_plan import planned
from zmartd.store.postgres.migration_sql import directive, statements
from zmartd.store.postgres.migrations import (
    _LEDGER,
    CONCURRENTLY,
    SQL_DIRECTORY,
    MigrationFailed,
    MigrationRefused,
    all_migrations,
    migrate,
    pending,
)
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE
from zmartd.text.likeness import likeness

TABLES = """
select case when relnamespace = 'public'::regnamespace then '' else relnamespace::regnamespace || '.' end
       || relname
  from pg_class where relkind in ('r', 'v') and relnamespace::regnamespace::text in ('public', 'zmartd')
"""
LOCKS = """
select name, lower(regexp_replace(replace(mode, 'Lock', ''), '(?<!^)([A-Z])', ' \\1', 'g')) as lock
  from (select distinct on (name) *
          from (select case when relnamespace = 'public'::regnamespace then ''
                            else relnamespace::regnamespace || '.' end || relname as name, mode,
                       array_position(array['ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                                            'AccessExclusiveLock'], mode) as strength
                  from pg_locks join pg_class as relation on relation.oid = relation
                 where pid = pg_backend_pid() and relkind in ('r', 'v')
                   and relnamespace::regnamespace::text in ('public', 'zmartd')) as one
         where strength is not null order by name, strength desc) as strongest
"""


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(empty_database_url)
    yield opened
    await opened.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("create table first ();")
    (tmp_path / "0002_second.sql").write_text("create table second ();")
    return tmp_path


async def migrate_before(name: str, database_url: str, directory: Path) -> None:
    """Apply the migrations before the one with this name, from copies in `directory`."""
    (end,) = SQL_DIRECTORY.glob(f"*_{name}.sql")
    for file in SQL_DIRECTORY.glob("*.sql"):
        if file.name < end.name:
            (directory / file.name).write_text(file.read_text())
    await migrate(database_url, directory)


async def test_an_empty_database_gets_all_of_them_once(empty_database_url: str) -> None:
    assert await pending(empty_database_url) == all_migrations()
    assert await migrate(empty_database_url) == all_migrations()
    assert await pending(empty_database_url) == ()
    assert await migrate(empty_database_url) == ()


def test_the_command_names_what_it_applied_one_a_line(empty_database_url: str) -> None:
    environment = {"ZMARTD_DATABASE_URL": empty_database_url}
    planned = CliRunner(env=environment).invoke(main, ["migrate", "--plan", "--json"])
    assert [one["name"] for one in json.loads(planned.stdout)] == [one.name for one in all_migrations()]
    first, second = (CliRunner(env=environment).invoke(main, ["migrate"]) for _ in range(2))
    assert first.stdout.splitlines() == [one.name for one in all_migrations()]
    assert (second.stdout, second.stderr.splitlines()[1:]) == ("", ["the database is up to date"])


async def test_asking_what_is_pending_changes_nothing(
    empty_database_url: str, connection: Connection
) -> None:
    await pending(empty_database_url)

    assert await connection.fetchval("select to_regnamespace('zmartd')") is None


async def test_daemons_that_start_together_apply_each_file_once(empty_database_url: str) -> None:
    results = await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))

    assert sorted(migration.number for result in results for migration in result) == [
        migration.number for migration in all_migrations()
    ]


async def test_a_new_file_is_applied_to_a_database_that_has_the_others(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    await migrate(empty_database_url, directory)
    (directory / "0003_third.sql").write_text("create table third ();")

    assert [migration.name for migration in await migrate(empty_database_url, directory)] == ["0003_third"]
    assert await connection.fetchval("select to_regclass('third') is not null")


async def until(connection: Connection, query: str, task: asyncio.Task[Any]) -> None:
    """Return when the query gives something. Raises what the task raises, if that ends first."""
    while not await connection.fetchval(query):
        if task.done():
            await task
            raise AssertionError("it was over too soon")
        await asyncio.sleep(0.01)


async def test_a_table_in_use_is_waited_for_without_keeping_readers_waiting(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    """A lock that is waited for keeps all others waiting behind it."""
    await migrate(empty_database_url, directory)
    (directory / "0003_third.sql").write_text("alter table first add column third int")
    told: asyncio.Queue[str] = asyncio.Queue()
    async with connection.transaction():
        await connection.fetch("select * from first")
        migrating = asyncio.create_task(migrate(empty_database_url, directory, tell=told.put_nowait))
        for _ in range(2):
            assert "0003_third: its tables are in use, trying again in" in await told.get()
        assert await pending(empty_database_url, directory) != ()
    assert [one.name for one in await migrating] == ["0003_third"]


async def test_a_table_that_stays_in_use_ends_it_with_what_to_look_for(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    await migrate(empty_database_url, directory)
    (directory / "0003_third.sql").write_text("alter table first add column third int")
    async with connection.transaction():
        await connection.fetch("select * from first")
        with pytest.raises(
            MigrationFailed, match=r"0003_third\.sql got no lock within 0 s.*pg_stat_activity"
        ):
            await migrate(empty_database_url, directory, wait_seconds=0)


async def test_a_second_one_says_that_it_waits_for_the_first(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    await migrate(empty_database_url, directory)
    (directory / "0003_third.sql").write_text("alter table first add column third int")
    told: asyncio.Queue[str] = asyncio.Queue()
    async with connection.transaction():
        await connection.fetch("select * from first")
        first = asyncio.create_task(migrate(empty_database_url, directory, tell=told.put_nowait))
        assert "in use" in await told.get()
        heard: asyncio.Queue[str] = asyncio.Queue()
        second = asyncio.create_task(migrate(empty_database_url, directory, tell=heard.put_nowait))
        assert re.match("another zmartd migrates .*: waiting for it", await heard.get())
    assert [[one.name for one in await task] for task in (first, second)] == [["0003_third"], []]


async def test_one_that_is_stopped_leaves_whole_files_and_goes_on_the_next_time(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    (directory / "0003_third.sql").write_text("create table third (); select pg_sleep(300);")
    stopped = asyncio.create_task(migrate(empty_database_url, directory))
    sleeping = (
        "select true from pg_stat_activity where query like '%pg_sleep(300)%' and pid <> pg_backend_pid()"
    )
    await until(connection, sleeping, stopped)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    assert await connection.fetchval("select to_regclass('third') is null")
    (directory / "0003_third.sql").write_text("create table third ();")
    assert [one.name for one in await migrate(empty_database_url, directory)] == ["0003_third"]


async def test_an_index_is_built_while_others_write_and_again_after_an_interruption(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    (directory / "0002_second.sql").write_text("create table public.second (id int);")
    await migrate(empty_database_url, directory)
    (directory / "0003_third.sql").write_text(
        "-- zmartd: concurrently\n-- By its id.\n"
        "create index concurrently if not exists second_by_id on public.second (id);"
    )
    told: asyncio.Queue[str] = asyncio.Queue()
    async with connection.transaction():
        await connection.execute("insert into public.second values (1)")
        stopped = asyncio.create_task(migrate(empty_database_url, directory, tell=told.put_nowait))
        assert await told.get() == "0003_third: create index concurrently if not exists second_by_id"
        await until(connection, "select true from pg_class where relname = 'second_by_id'", stopped)
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
    valid = "select indisvalid from pg_index where indexrelid = 'public.second_by_id'::regclass"
    assert await connection.fetchval(valid) is False
    assert [one.name for one in await migrate(empty_database_url, directory)] == ["0003_third"]
    assert await connection.fetchval(valid) is True


async def test_what_is_built_concurrently_is_nothing_but_indexes(
    empty_database_url: str, directory: Path
) -> None:
    (directory / "0002_second.sql").write_text("-- zmartd: concurrently\ncreate table second ();")
    with pytest.raises(MigrationRefused, match="may only have CREATE INDEX CONCURRENTLY"):
        await migrate(empty_database_url, directory)


async def test_the_plan_names_the_locks_that_postgres_takes(
    empty_database_url: str, connection: Connection
) -> None:
    """Of each migration since the first release, whose text says what it does."""
    for migration in all_migrations():
        if directive(migration.sql, CONCURRENTLY) is not None:  # in no transaction, so its locks are gone
            for statement in statements(migration.sql):
                await connection.execute(statement)
            continue
        before = {row[0] for row in await connection.fetch(TABLES)}
        async with connection.transaction():
            await connection.execute(migration.sql)
            taken = {row["name"]: row["lock"] for row in await connection.fetch(LOCKS)}
        strongest = {
            lock.table: lock.lock for lock in planned(migration, {}).locks if lock.lock != "row exclusive"
        }
        if migration.number == 1:
            await connection.execute(_LEDGER)
        if "unknown" not in strongest.values():
            # Indexes are no tables, and tables that are dropped have no name any more.
            both = before & {row[0] for row in await connection.fetch(TABLES)}
            assert {name: lock for name, lock in taken.items() if name in both} == {
                name: lock for name, lock in strongest.items() if name in both
            }, migration.name


async def test_an_edited_file_is_refused_and_nothing_is_applied(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    await migrate(empty_database_url, directory)
    (directory / "0001_first.sql").write_text("create table first (edited int);")
    (directory / "0003_third.sql").write_text("create table third ();")

    for refuse in (migrate, pending):
        with pytest.raises(MigrationRefused, match=r"0001_first\.sql differs"):
            await refuse(empty_database_url, directory)
    assert await connection.fetchval("select to_regclass('third') is null")


async def test_a_database_from_a_newer_zmartd_is_refused(empty_database_url: str, directory: Path) -> None:
    await migrate(empty_database_url, directory)
    (directory / "0002_second.sql").unlink()

    with pytest.raises(MigrationRefused, match="0002_second, which this zmartd does not know: upgrade"):
        await migrate(empty_database_url, directory)


async def test_texts_of_markets_that_the_index_has_already_are_kept(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("pending_markets", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    await insert_market(connection, "made", creator_wallet=wallet("creator"))
    for name in ("made", "never made"):
        await insert_registration(connection, name)
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    rows = await connection.fetch("select market_id from market_metadata where appeared_at is not null")
    assert [row["market_id"] for row in rows] == [market_id("made")]


async def test_texts_that_are_there_already_have_the_small_letters_of_every_language(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    """They had others where the database speaks Turkish, as Debian's does in tests."""
    await migrate_before("letters_of_every_language", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    await insert_market(connection, "m", question="NIKKEI", description="INDEX")
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    rows = await connection.fetch("select search_text, search::text from markets")
    assert [tuple(row) for row in rows] == [("nikkei ", "'index':2C 'nikkei':1A")]


async def test_texts_that_are_there_already_are_found_and_have_a_likeness(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("likeness", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    await insert_market(connection, "old", question="谁将赢得2028年美国总统选举?", updated_at=NOON)
    await insert_registration(connection, "old", question="谁将赢得2028年美国总统选举?")
    await connection.execute("commit")

    await schema.bring_up_to_date(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    market = await connection.fetchrow("select * from markets where search @@ zmartd.sought('2028 选举')")
    assert market is not None
    assert market["id"] == market_id("old")
    if await connection.fetchval("select lower('I') = 'i'"):  # elsewhere 0058 writes every market again
        assert market["updated_at"] == NOON
    alike = await connection.fetchval("select likeness from market_metadata")
    assert tuple(alike) == likeness("谁将赢得 2028 年美国总统选举")


async def test_markets_on_the_chain_keep_their_names_and_get_the_missing_ones(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("names_of_markets", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    rows: dict[str, dict[str, object]] = {
        "named": {"slug_base": "will-it-rain-tomorrow", "slug_number": 1, "appeared_at": NOON},
        "second": {"slug_base": "will-it-rain-tomorrow", "slug_number": 2, "appeared_at": NOON},
        "nameless": {"appeared_at": NOON},
        "pending": {"slug_base": "will-it-rain-tomorrow", "slug_number": 3},
        "older and pending": {},
    }
    for name, columns in rows.items():
        await insert_registration(connection, name, **columns)
    await connection.execute("commit")

    await schema.bring_up_to_date(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    found = await connection.fetch("select market_id, slug_base, slug from market_metadata")
    assert {row["slug_base"] for row in found} == {"will-it-rain-tomorrow"}
    assert {row["market_id"]: row["slug"] for row in found} == {
        market_id("named"): "will-it-rain-tomorrow",
        market_id("second"): "will-it-rain-tomorrow-2",
        market_id("nameless"): f"will-it-rain-tomorrow-{market_id('nameless')[:8]}",
        market_id("pending"): None,
        market_id("older and pending"): None,
    }


async def test_a_trade_does_not_parse_the_texts_of_its_market_again(
    empty_database_url: str, connection: Connection
) -> None:
    await migrate(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    await insert_market(connection, "m", question="Will it rain?")
    await connection.execute(
        "reset role; create or replace function zmartd.indexed(words text)"
        " returns tsvector language plpgsql immutable as $$ begin raise 'parsed'; end $$"
    )
    await connection.execute("set local role service_role")
    await connection.execute("update markets set total_volume = 1")
    with pytest.raises(asyncpg.RaiseError, match="parsed"):
        await connection.execute("update markets set question = 'Will it snow?'")


async def test_transactions_that_nobody_could_read_are_parked(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("parked_transactions", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    for name, data in (("a transaction", b'{"slot":7,"meta":"nonsense"}'), ("a line", b"{2345678")):
        await insert(
            connection,
            "quarantined_events",
            tx_signature=signature(name),
            event_index=0,
            slot=7,
            data=data,
            reason="nobody can read it",
        )
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    parked = await connection.fetch("select tx_signature, slot, reason, detail from parked_transactions")
    assert [tuple(row) for row in parked] == [
        (signature("a transaction"), 7, "unreadable", "nobody can read it")
    ]
    kept = await connection.fetch("select tx_signature from quarantined_events")
    assert [row["tx_signature"] for row in kept] == [signature("a line")]


async def test_decisions_stay_with_the_resolution_that_a_market_has(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("opinions_about_a_resolution", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    for name, state, at in (("stands", "RESOLVING", NOON), ("gone", "ACTIVE", None)):
        market = await insert_market(connection, name, MarketState[state], resolution_proposed_at=at)
        said = {"state": "RESOLVING", "decision": "keep", "because": "it is on record"}
        await insert(connection, "market_decisions", market_id=market, **said)
    await insert(
        connection,
        "market_events",
        tx_signature=signature("resolution"),
        event_index=0,
        slot=1,
        event_type="MarketResolved",
        market_id=market_id("stands"),
        payload="{}",
    )
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    decided = await connection.fetch(
        "select market_id, resolved_in from market_decisions join markets on id = market_id"
    )
    assert [tuple(row) for row in decided] == [(market_id("stands"), signature("resolution"))]


async def test_opinions_from_before_are_about_the_resolution_that_they_were_with(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("opinions_name_their_resolution", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    first, second = signature("first"), signature("second")
    market = await insert_market(connection, "m", MarketState.RESOLVING, resolved_in=first)
    await insert(connection, "dispute_requests", market_id=market, user_wallet=wallet("early"))
    await connection.execute("update markets set resolved_in = $1", second)
    await insert(connection, "dispute_requests", market_id=market, user_wallet=wallet("late"))
    await connection.execute("update markets set state = 'DISPUTED'")
    await insert(connection, "dispute_votes", market_id=market, user_wallet=wallet("late"), vote=True)
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    for table in ("dispute_requests", "dispute_votes"):
        assert await connection.fetchval(f"select resolution from {table}") == second
    await connection.execute("update markets set resolved_in = $1", first)
    asked = await connection.fetch("select user_wallet, resolution from dispute_requests")
    assert [tuple(row) for row in asked] == [(wallet("early"), first)]


async def test_what_a_correction_with_differences_made_up_for_is_an_alert_again(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("corrections_hold_everything", empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    market = await insert_market(connection, "m")
    await insert(connection, "market_corrections", market_id=market, slot=7, differences="[]")
    changed = await connection.fetchval("select on_chain_address from markets")
    for name, slot, changes in (("its", 7, changed), ("later", 8, changed), ("another's", 7, "elsewhere")):
        await insert(
            connection,
            "truncated_transactions",
            tx_signature=signature(name),
            slot=slot,
            events_read=0,
            reason="the node has forgotten it",
            changes=[changes],
            resolved_at=NOON,
        )
    await connection.execute("commit")

    await migrate(empty_database_url)

    await connection.execute(BEGIN_AS_SERVICE)
    assert await connection.fetch("select * from market_corrections") == []
    reopened = "select tx_signature from truncated_transactions where resolved_at is null"
    assert [row["tx_signature"] for row in await connection.fetch(reopened)] == [signature("its")]


async def test_a_failing_file_leaves_nothing_of_itself_and_keeps_those_before(
    empty_database_url: str, directory: Path, connection: Connection
) -> None:
    (directory / "0002_second.sql").write_text("create table second (); select no_such_function();")

    with pytest.raises(MigrationFailed, match=r"0002_second\.sql failed .* no_such_function"):
        await migrate(empty_database_url, directory)
    assert await connection.fetchval("select to_regclass('first') is not null")
    assert await connection.fetchval("select to_regclass('second') is null")
    assert [migration.name for migration in await pending(empty_database_url, directory)] == ["0002_second"]


async def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=f"Postgres at {tmp_path}/zmart ") as raised:
        await migrate(f"postgresql://zmartd:hunter2@/zmart?host={tmp_path}")
    assert "hunter2" not in str(raised.value)


async def test_a_missing_database_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(DatabaseNotReady, match="no_such_database"):
        await migrate(postgres_server.dsn_of("no_such_database"))


async def test_runs_of_tasks_from_before_the_ledger_stay_and_newer_tokens_are_greater(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("task_ledger", empty_database_url, tmp_path)
    async with connection.transaction():
        await connection.execute(BEGIN_AS_SERVICE.removeprefix("BEGIN; "))
        await connection.execute(
            "insert into task_runs (task, fencing_token, started_at, finished_at, outcome, report) "
            "values ('sweep', 41, $1, $1, 'failed', '{}')",
            NOON,
        )
    await migrate(empty_database_url)
    async with connection.transaction():
        await connection.execute(BEGIN_AS_SERVICE.removeprefix("BEGIN; "))
        kept = await connection.fetchrow("select * from task_runs")
        assert kept is not None
        assert (kept["status"], kept["outcome"], kept["due_at"], kept["instants"]) == (
            "ran",
            "failed",
            None,
            0,
        )
        assert kept["eventful"]
        assert await connection.fetchval("select nextval('task_fencing_tokens')") == 42


async def test_a_transaction_from_before_intents_had_rows_is_waited_for(
    empty_database_url: str, connection: Connection, tmp_path: Path
) -> None:
    await migrate_before("transaction_intents", empty_database_url, tmp_path)
    market, purpose = market_id("m"), "finalize_market"
    async with connection.transaction():
        await connection.execute(BEGIN_AS_SERVICE.removeprefix("BEGIN; "))
        for minute, (name, status, of_market) in enumerate(
            [("landed", "landed", market), ("pending", "pending", market), ("relayed", "pending", None)]
        ):
            await insert(
                connection,
                "outbox_transactions",
                signature=signature(name),
                wire=name.encode(),
                last_valid_block_height=7,
                purpose=purpose,
                market_id=of_market,
                status=status,
                created_at=NOON + timedelta(minutes=minute),
                settled_at=None if status == "pending" else NOON,
            )

    await migrate(empty_database_url)

    async with connection.transaction():
        await connection.execute(BEGIN_AS_SERVICE.removeprefix("BEGIN; "))
        rows = await connection.fetch(
            "select signature, market_id, round, is_current from transaction_intents order by created_at"
        )
        assert [tuple(row) for row in rows] == [
            (signature("landed"), market, "", False),
            (signature("pending"), market, "", True),
        ]
        meant = [Intent(market, purpose, "resolving", bytes(32), 1)]
        proposed = SignedTransaction(signature("new"), b"new", 9, purpose)
        old = SignedTransaction(signature("pending"), b"pending", 7, purpose)
        assert await claim(connection, meant, proposed) == {market: Standing(old, None, serves=False)}
        await connection.execute(
            "update outbox_transactions set status = 'expired', settled_at = now() where signature = $1",
            old.signature,
        )
        assert await claim(connection, meant, proposed) == {}
