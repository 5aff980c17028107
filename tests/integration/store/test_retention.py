from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asyncpg import Connection

from tests.integration.store.expiry import rules
from tests.integration.store.postgres.rls_rows import OWNERS, tables
from tests.integration.store.rows import NOON, insert, insert_market
from tests.statements import execute
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.store.retention import BY_INDEX, ExpiringRows

RULES = rules(orphaned_days=90)
TIMES = {
    "stream_messages": "created_at",
    "webhook_inbox": "settled_at",
    "outbox_transactions": "settled_at",
    "idempotency_keys": "expires_at",
    "task_runs": "finished_at",
    "prompted_moments": "again_at",
    "market_finalization_errors": "resolved_at",
    "revocations": "expires_at",
    "market_metadata": "created_at",
    "alerts": "resolved_at",
    "daemons": "seen_at",
    "orphaned_events": "orphaned_at",
}
MORE: dict[str, dict[str, Any]] = {
    "webhook_inbox": {"status": "done"},
    "outbox_transactions": {"status": "failed"},
    "alerts": {"opened_at": NOON},
    "market_finalization_errors": {"resolved_by": "auto"},
}
"""What else makes a row one that expires."""
SMALL = {"daemons", "prompted_moments"}
"""Tables that are read from end to end."""
ROWS_READ = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = $1"
MINUTE = timedelta(minutes=1)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.table} {rule.keep.days}")


async def insert_aged(connection: Connection, rule: ExpiringRows, owner: str, age: timedelta) -> None:
    """A row of that owner's whose time came so long ago."""
    now = await connection.fetchval("select now()")
    more = dict(MORE.get(rule.table, {}))
    if rule.table == "task_runs":
        more["eventful"] = rule.keep.days > 2
    row = tables(owner)[rule.table].row | more | {TIMES[rule.table]: now - age}
    await insert(connection, rule.table, **row)


@each_rule
async def test_rows_go_when_they_are_older_than_they_are_kept(database: Database, rule: ExpiringRows) -> None:
    old, young = OWNERS
    async with database.service() as connection:
        for name in OWNERS.values():
            for state in ("proposed", "disputed"):
                await insert_market(connection, f"{state} {name}", MarketState.PROPOSED)
        await insert_aged(connection, rule, old, rule.keep + MINUTE)
        await insert_aged(connection, rule, young, rule.keep - MINUTE)
        assert await rule.are_overdue(connection, MINUTE / 2)
        assert not await rule.are_overdue(connection, 2 * MINUTE)
        assert await rule.delete(connection) == 1
        assert await rule.delete(connection) == 0
        assert not await rule.are_overdue(connection, timedelta(0))
        left = await connection.fetch(f"select * from {rule.table} where {tables(old)[rule.table].where}")
    assert left == []


@each_rule
async def test_an_index_finds_what_is_to_go(database: Database, rule: ExpiringRows) -> None:
    if rule.table in SMALL:
        pytest.skip("it is small")
    async with database.service() as connection:
        await connection.execute(BY_INDEX)
        rows = await connection.fetch(f"explain {rule.statement}", rule.keep, rule.bite)
        plan = "\n".join(row[0] for row in rows)
    assert f"Seq Scan on {rule.table}" not in plan, plan


@pytest.mark.parametrize("table", ["stream_messages", "webhook_inbox", "task_runs"])
async def test_where_nothing_is_to_go_few_rows_are_read(
    database: Database, database_url: str, table: str
) -> None:
    """However many are there, and for however few Postgres takes them: here for one on many pages."""
    many = 20_000
    fills = {
        "stream_messages": "insert into stream_messages (stream_id, seq, body) select 1, n + 1, 'x'",
        "webhook_inbox": "insert into webhook_inbox (body, status, settled_at) select 'x', 'done', now()",
        "task_runs": "insert into task_runs (task, status, started_at, finished_at, outcome, eventful)"
        " select 't', 'ran', now(), now(), 'ok', n % 2 = 0",
    }

    def fill(first: int, last: int) -> str:
        return f"{fills[table]} from generate_series({first}, {last}) as n"

    often = [fill(1, many), f"delete from {table}"] * 3
    await execute(database_url, *often, fill(0, 2), f"vacuum analyze {table}")
    async with database.service() as connection:
        await connection.execute(fill(3, many))
        for rule in rules(table):
            before = await connection.fetchval(ROWS_READ, table)
            assert await rule.delete(connection) == 0
            assert await connection.fetchval(ROWS_READ, table) - before <= 2 * rule.bite


async def test_the_newest_delivery_stays_because_it_says_when_something_came_last(database: Database) -> None:
    (rule,) = rules("webhook_inbox", inbox_days=0)
    async with database.service() as connection:
        for _ in range(3):
            await connection.execute(
                "insert into webhook_inbox (body, status, settled_at)"
                " values ('x', 'done', now() - interval '1 s')"
            )
        newest = await connection.fetchval("select max(id) from webhook_inbox")
        assert await rule.delete(connection) == 2
        assert await connection.fetchval("select id from webhook_inbox") == newest


async def test_what_somebody_works_on_stays(database: Database) -> None:
    (rule,) = rules("idempotency_keys")
    async with database.service() as connection:
        await connection.execute(
            "insert into idempotency_keys (subject, key, request_hash, expires_at)"
            " select 'w', n::text, 'x', now() - interval '1 s' from generate_series(1, 3) as n"
        )
    async with database.service() as working, database.service() as connection:
        await working.execute("select from idempotency_keys where key = '2' for update")
        assert await rule.delete(connection) == 2
    async with database.service() as connection:
        assert await rule.delete(connection) == 1


def test_what_is_kept_for_ever_is_not_looked_for() -> None:
    assert not rules("orphaned_events")
    assert rules("orphaned_events", orphaned_days=1)


def test_every_kind_has_been_tried() -> None:
    assert {rule.table for rule in RULES} == set(TIMES)
