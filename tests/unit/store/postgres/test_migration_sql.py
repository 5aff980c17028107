"""What a migration does to tables in use; and the rule that it takes nothing away from older daemons."""

from __future__ import annotations

import pytest

from zmartd.doctor.postgres import OLDEST_VERSION
from zmartd.store.postgres.migration_sql import Effect, Lock, Work, directive, effects, statements
from zmartd.store.postgres.migrations import ADDITIVE, CONTRACT, all_migrations

FIRST_RELEASE = 51
"""The newest migration of the first release. Before it nothing was promised to anybody."""

ADDED = [
    "alter table markets add column weight integer",
    "alter table markets add column weight integer not null default 0",
    "alter table public.markets alter column weight drop not null, alter column weight set default 1",
    "create table fresh (id bigint not null primary key); alter table fresh add check (id > 0)",
    "create index concurrently if not exists markets_by_weight on markets (weight)",
    "create policy public_read on markets for select to anon using (true)",
    "grant select on markets to anon",
    "update markets set weight = 1; insert into protocol default values; delete from streams where true",
    "drop index markets_by_weight",
    "alter table markets validate constraint positive",
    "lock table markets in access exclusive mode",
    "create function zmartd.twice(x int) returns int language sql return $$ drop table markets; $$",
    "-- drop table markets\ncomment on table markets is 'not; drop table markets;'",
]
BREAKING = [
    "alter table markets drop column weight",
    "alter table markets add column weight integer not null",
    "alter table markets alter column weight set not null",
    "alter table markets alter column weight drop default",
    "alter table markets alter column weight type bigint",
    "alter table markets rename column weight to mass",
    "alter table markets rename to fairs",
    "ALTER TABLE ONLY public.markets\n    ADD CONSTRAINT positive CHECK (weight > 0) NOT VALID",
    "alter table markets add column a int, add unique (a)",
    "create unique index on markets (weight)",
    "drop table markets",
    "drop view program_events",
    "drop function zmartd.masked(text)",
    "revoke select on markets from anon",
    "do $$ begin execute 'drop table markets'; end $$",
    "alter domain zmartd.u64 add check (value > 7)",
]


def test_no_migration_since_the_first_release_takes_anything_from_daemons_of_the_one_before() -> None:
    """Where one has to, it says why: `-- zmartd: contract: REASON`. Where one only looks as if it did, too:
    `-- zmartd: additive: REASON`.
    """
    broken = {
        migration.name: [effect.breaks for effect in effects(migration.sql) if effect.breaks]
        for migration in all_migrations()
        if migration.number > FIRST_RELEASE
        and not (directive(migration.sql, CONTRACT) or directive(migration.sql, ADDITIVE))
    }
    assert {name: found for name, found in broken.items() if found} == {}


@pytest.mark.parametrize("sql", ADDED)
def test_what_is_only_added_is_allowed(sql: str) -> None:
    assert [effect.breaks for effect in effects(sql) if effect.breaks] == []


@pytest.mark.parametrize("sql", BREAKING)
def test_what_an_older_daemon_may_need_is_not_taken_away(sql: str) -> None:
    assert [effect.breaks for effect in effects(sql) if effect.breaks] != []


def test_a_contract_is_a_line_with_a_reason() -> None:
    sql = "-- Why.\n-- zmartd: contract: nobody has read it since 0.2.0\n-- zmartd: concurrently\nselect 1"
    assert directive(sql, "contract") == "nobody has read it since 0.2.0"
    assert directive(sql, "concurrently") == ""
    assert directive("select '-- zmartd: contract: a text'", "contract") is None


def test_statements_end_at_semicolons_that_are_in_no_text_comment_or_body() -> None:
    sql = """
    select 'a;b', "c;d"; -- one; two
    /* three; */ do $x$ begin; end $x$;
    select  1
    """
    assert statements(sql) == ["select 'a;b', \"c;d\"", "do $x$ begin; end $x$", "select 1"]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("create index on markets (id)", Effect("markets", Lock.SHARE, Work.INDEX)),
        (
            "create index concurrently if not exists i on markets (id)",
            Effect("markets", Lock.SHARE_UPDATE_EXCLUSIVE, Work.INDEX),
        ),
        ("alter table markets add column a int default 7", Effect("markets", Lock.ACCESS_EXCLUSIVE)),
        (
            "alter table markets add column a timestamptz default now()",
            Effect("markets", Lock.ACCESS_EXCLUSIVE),
        ),
        (
            "alter table markets add column a uuid default gen_random_uuid()",
            Effect("markets", Lock.ACCESS_EXCLUSIVE, Work.REWRITE),
        ),
        (
            "alter table markets add column a int generated always as (b + 1) stored",
            Effect("markets", Lock.ACCESS_EXCLUSIVE, Work.REWRITE),
        ),
        (
            "alter table markets validate constraint c",
            Effect("markets", Lock.SHARE_UPDATE_EXCLUSIVE, Work.SCAN),
        ),
        ("update markets set a = 1", Effect("markets", Lock.ROW_EXCLUSIVE, Work.WRITE)),
        ("create table t (m text references markets (id))", Effect("markets", Lock.SHARE_ROW_EXCLUSIVE)),
    ],
)
def test_the_lock_and_the_work_of_a_statement_are_known(sql: str, found: Effect) -> None:
    assert effects(sql) == [found]


def test_the_oldest_postgres_that_the_doctor_accepts_knows_what_migrations_use() -> None:
    known_since = {"security_invoker": 15, "nulls not distinct": 15, "any_value(": 16}
    used = {word for word in known_since for one in all_migrations() if word in one.sql.lower()}
    assert max(known_since[word] for word in used) == OLDEST_VERSION
