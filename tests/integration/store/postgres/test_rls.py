"""Row level security, asked straight at SQL: who may do what to whose rows, on every kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection

from tests.conftest import EMPTY
from tests.event_loop import run
from tests.integration.store.postgres.rls_rows import OTHER, OWNER, Table, insert_markets, tables
from tests.integration.store.rows import NOON, insert, signature
from tests.outside_servers import LOGIN, PostgresServer, url_as
from tests.statements import execute
from zmartd.market.ids import masked
from zmartd.store.postgres.migrations import migrate
from zmartd.store.postgres.rls import ANYBODY, BEGIN_AS_SERVICE, Caller, begin_as

# S select, I insert, U update, D delete. `own` and `other` are what a signed-in wallet may do to its own row
# and to somebody else's.
MATRIX = """
table                       anon  own   other  service
users                       ----  SIU-  ----   SIUD
markets                     S---  S---  S---   SIUD
market_metadata             S---  SI--  S---   SIUD
trades                      S---  S---  S---   SIUD
user_positions              ----  S---  ----   SIUD
candles                     S---  S---  S---   SIUD
trade_results               ----  ----  ----   SIUD
lots                        S---  S---  S---   SIUD
market_traders              S---  S---  S---   SIUD
market_holdings             ----  ----  ----   SIUD
market_counts               S---  S---  S---   SIUD
market_volumes              S---  S---  S---   SIUD
position_results            ----  ----  ----   SIUD
standing_periods            ----  ----  ----   SIUD
standings                   ----  ----  ----   SIUD
standing_changes            ----  ----  ----   SIUD
proposal_votes              ----  SI--  ----   SIUD
dispute_votes               ----  SI--  ----   SIUD
vote_tallies                S---  S---  S---   SIUD
voter_checks                ----  ----  ----   SIUD
voter_balances              ----  ----  ----   SIUD
verified_voters             ----  ----  ----   SIUD
settled_proposals           S---  S---  S---   SIUD
settled_disputes            S---  S---  S---   SIUD
evidence                    S---  S---  S---   SIUD
dispute_electorate          ----  S---  ----   SIUD
market_decisions            S---  S---  S---   SIUD
dispute_requests            ----  SI--  ----   SIUD
shelved_opinions            ----  ----  ----   SIUD
discussions                 S---  SIU-  S---   SIUD
leaderboard_editions        S---  S---  S---   SIUD
leaderboard                 S---  S---  S---   SIUD
ipfs_anchors                S---  S---  S---   SIUD
ipfs_documents              S---  S---  S---   SIUD
market_events               S---  S---  S---   SIUD
trade_events                ----  ----  ----   SIUD
vote_events                 ----  ----  ----   SIUD
admin_events                S---  S---  S---   SIUD
quarantined_events          ----  ----  ----   SIUD
protocol_config_history     S---  S---  S---   SIUD
protocol                    S---  S---  S---   SIUD
outbox_transactions         ----  ----  ----   SIUD
transaction_intents         ----  ----  ----   SIUD
webhook_inbox               ----  ----  ----   SIUD
indexer_cursor              ----  ----  ----   SIUD
market_finalization_errors  ----  ----  ----   SIUD
idempotency_keys            ----  ----  ----   SIUD
task_runs                   ----  ----  ----   SIUD
task_schedules              ----  ----  ----   SIUD
prompted_moments            ----  ----  ----   SIUD
daemons                     ----  ----  ----   SIUD
alerts                      ----  ----  ----   SIUD
alert_deliveries            ----  ----  ----   SIUD
alert_order                 ----  ----  ----   SIUD
orphaned_events             ----  ----  ----   SIUD
truncated_transactions      ----  ----  ----   SIUD
market_corrections          ----  ----  ----   SIUD
eventless_transactions      ----  ----  ----   SIUD
unverified_transactions     ----  ----  ----   SIUD
parked_transactions         ----  ----  ----   SIUD
history_bookmarks           ----  ----  ----   SIUD
revocations                 ----  ----  ----   SIUD
streams                     ----  S---  ----   SIUD
stream_messages             ----  ----  ----   SIUD
stream_epochs               S---  S---  S---   SIUD
pulses                      ----  ----  ----   SIUD
market_audits               ----  ----  ----   SIUD
audit_passes                ----  ----  ----   SIUD
"""


ROLES = """
do $$
declare
    role_name text;
begin
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin noinherit', role_name);
        end if;
    end loop;
end
$$
"""
SUPABASE_LOGINS = (
    ROLES,
    "alter role service_role bypassrls",
    f"create role owner_at_supabase {LOGIN} createrole",
    f"create role authenticator {LOGIN} noinherit",
    "grant anon, authenticated, service_role to owner_at_supabase, authenticator",
)
SUPABASE = (
    "create schema auth; create schema extensions",
    "create function auth.uid() returns uuid language sql stable as 'select null::uuid'",
    "create function auth.jwt() returns jsonb language sql stable as "
    "$$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$",
    "create table auth.users (id uuid primary key)",
    "grant usage on schema auth, public to anon, authenticated, service_role",
    *(
        f"alter default privileges for role {owner} in schema public grant all on {what} "
        "to anon, authenticated, service_role"
        for owner in ("owner_at_supabase", "current_user")
        for what in ("tables", "sequences", "functions")
    ),
)
LOGINS = ("managed", "authenticator", "owner_at_supabase")


@dataclass(frozen=True)
class Place:
    """A migrated database, and the login that a daemon would use on it."""

    administrator: str
    daemon: str


@pytest.fixture(scope="module", params=["our own", "like Supabase", "managed"])
def place(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Place]:
    """A database that we own as superuser, one as Supabase makes it, and one whose owner is no superuser."""
    name = f"rls_{request.param.replace(' ', '_').lower()}"
    administration = postgres_server.dsn_of("postgres")
    own = postgres_server.dsn_of(name)
    run(execute(administration, f"create database {name}"))
    daemon = migrator = own
    if request.param == "like Supabase":
        run(execute(administration, *SUPABASE_LOGINS, f"alter database {name} owner to owner_at_supabase"))
        run(execute(own, *SUPABASE))
        migrator = url_as(own, "owner_at_supabase")
        daemon = url_as(own, "authenticator")
    if request.param == "managed":
        daemon = migrator = url_as(own, "managed")
        run(
            execute(
                administration,
                ROLES,
                f"create role managed {LOGIN} noinherit",
                "grant anon, authenticated, service_role to managed",
                f"alter database {name} owner to managed",
            )
        )
        run(execute(own, "grant usage, create on schema public to managed"))
    run(migrate(migrator))
    yield Place(own, daemon)
    run(
        execute(
            administration,
            f"drop database {name} with (force)",
            f"drop role if exists {', '.join(LOGINS)}",
            "alter role service_role nobypassrls",
        )
    )


@pytest.fixture
async def administrator(place: Place) -> AsyncIterator[Connection]:
    """A superuser's connection to the database, which is empty but for the row of `protocol`."""
    connection = await asyncpg.connect(place.administrator)
    await connection.execute(EMPTY)
    yield connection
    await connection.close()


@pytest.fixture
async def daemon(place: Place) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(place.daemon)
    yield connection
    await connection.close()


async def reaches(connection: Connection, begin: str, statement: str, *arguments: Any) -> bool:
    """Whether the statement is allowed and finds or makes a row; nothing of it stays."""
    await connection.execute(begin)
    try:
        return not (await connection.execute(statement, *arguments)).endswith(" 0")
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await connection.execute("rollback")


async def rights(administrator: Connection, daemon: Connection, begin: str, name: str, table: Table) -> str:
    """Which of SIUD a caller has on a row that is there, but for I, which needs its place."""
    places = ", ".join(f"${number}" for number in range(1, len(table.row) + 1))
    insertion = f"insert into {name} ({', '.join(table.row)}) values ({places})"
    may = {
        "S": await reaches(daemon, begin, f"select 1 from {name} where {table.where}"),
        "U": await reaches(daemon, begin, f"update {name} set {table.change} where {table.where}"),
        "D": await reaches(daemon, begin, f"delete from {name} where {table.where}"),
    }
    await administrator.execute(f"delete from {name} where {table.where}")
    may["I"] = await reaches(daemon, begin, insertion, *table.row.values())
    await administrator.execute(insertion, *table.row.values())
    return "".join(letter if may[letter] else "-" for letter in "SIUD")


async def test_rls_gives_each_role_exactly_what_the_matrix_says(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)
    rows = {of: tables(of) for of in (OWNER, OTHER)}
    for of, name in product(rows, rows[OWNER]):
        if name != "protocol":
            await insert(administrator, name, **rows[of][name].row)
    owner = begin_as(Caller(OWNER))

    found = ["", f"{'table':28}anon  own   other  service"]
    for name in rows[OWNER]:
        anonymous = await rights(administrator, daemon, begin_as(ANYBODY), name, rows[OWNER][name])
        own = await rights(administrator, daemon, owner, name, rows[OWNER][name])
        other = await rights(administrator, daemon, owner, name, rows[OTHER][name])
        service = await rights(administrator, daemon, BEGIN_AS_SERVICE, name, rows[OWNER][name])
        found.append(f"{name:28}{anonymous}  {own}  {other}   {service}")

    print("\n".join(found))
    assert found == MATRIX.rstrip().splitlines()


async def test_rls_is_forced_on_every_table(administrator: Connection) -> None:
    tables = await administrator.fetch("""
        select relname, relrowsecurity and relforcerowsecurity as forced
          from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
    """)

    assert {row["relname"] for row in tables} == {line.split()[0] for line in MATRIX.split("\n")[2:-1]}
    assert [row["relname"] for row in tables if not row["forced"]] == []


async def test_every_view_reads_with_the_rights_of_its_caller(administrator: Connection) -> None:
    views = await administrator.fetch("""
        select relname, 'security_invoker=true' = any(coalesce(reloptions, '{}')) as as_caller
          from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')
    """)
    assert [tuple(row) for row in views] == [("program_events", True)]


async def test_only_the_service_role_reads_the_events_of_all_kinds(
    administrator: Connection, daemon: Connection
) -> None:
    sources = ("market_events", "trade_events", "vote_events", "admin_events")
    for source in sources:
        await insert(administrator, source, **tables(OWNER)[source].row)

    await daemon.execute(BEGIN_AS_SERVICE)
    seen = await daemon.fetch("select source, tx_signature from program_events")
    await daemon.execute("rollback")
    assert [tuple(row) for row in seen] == [
        (source, tables(OWNER)[source].row["tx_signature"]) for source in sources
    ]
    for caller in (ANYBODY, Caller(OWNER)):
        await daemon.execute(begin_as(caller))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await daemon.fetch("select source from program_events")
        await daemon.execute("rollback")


@pytest.mark.parametrize("place", ["managed"], indirect=True)
async def test_rls_hides_everything_from_a_login_that_took_no_role(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)

    assert await daemon.fetchval("select count(*) from markets") == 0
    assert await daemon.fetchval("select count(*) from user_positions") == 0


async def test_anonymous_callers_see_shortened_wallets_on_the_leaderboard(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)
    await insert(administrator, "leaderboard", **tables(OWNER)["leaderboard"].row)

    await daemon.execute(begin_as(ANYBODY))
    assert await daemon.fetchval("select wallet_masked from leaderboard") == masked(OWNER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await daemon.fetchval("select wallet from leaderboard")
    await daemon.execute("rollback")


@pytest.mark.parametrize("table", ["trades", "discussions"])
async def test_anonymous_callers_read_shortened_wallets_only(
    administrator: Connection, daemon: Connection, table: str
) -> None:
    await insert_markets(administrator)
    await insert(administrator, table, **tables(OWNER)[table].row)

    await daemon.execute(begin_as(ANYBODY))
    assert await daemon.fetchval(f"select user_masked from {table}") == masked(OWNER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await daemon.fetchval(f"select user_wallet from {table}")
    await daemon.execute(f"rollback; {begin_as(Caller(OTHER))}")
    assert await daemon.fetchval(f"select user_wallet from {table}") == OWNER
    await daemon.execute("rollback")


async def test_recorded_counts_of_votes_are_public_and_single_votes_are_not(
    administrator: Connection, daemon: Connection
) -> None:
    event = tables(OWNER)["vote_events"].row
    for index, kind in enumerate(["ProposalVoteSubmitted", "ProposalAggregated", "DisputeAggregated"]):
        await insert(administrator, "vote_events", **(event | {"event_type": kind, "event_index": index}))

    await daemon.execute(begin_as(Caller(OWNER)))
    seen = await daemon.fetch("select event_type from vote_events order by event_index")
    await daemon.execute("rollback")
    assert [row["event_type"] for row in seen] == ["ProposalAggregated", "DisputeAggregated"]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("proposal_votes", "source", "chain"),
        ("proposal_votes", "tx_signature", signature("forged")),
        ("proposal_votes", "voted_at", NOON),
        ("users", "reputation_score", 1_000_000),
        ("users", "created_at", NOON),
        ("discussions", "created_at", NOON),
        ("market_metadata", "created_at", NOON),
        ("market_metadata", "slug", "will-it-rain"),
    ],
)
async def test_callers_cannot_write_what_is_not_theirs_to_say(
    administrator: Connection, daemon: Connection, table: str, column: str, value: object
) -> None:
    await insert_markets(administrator)
    row = tables(OWNER)[table].row | {column: value}

    await daemon.execute(begin_as(Caller(OWNER)))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await insert_without_reading(daemon, table, row)
    await daemon.execute("rollback")


async def test_a_vote_cannot_be_moved_to_another_wallet(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)
    row = tables(OTHER)["proposal_votes"].row

    await daemon.execute(begin_as(Caller(OWNER)))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await insert_without_reading(daemon, "proposal_votes", row)
    await daemon.execute("rollback")


async def test_nobody_reads_a_deleted_comment_s_words_and_its_author_cannot_revive_it(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)
    await insert(administrator, "discussions", **tables(OWNER)["discussions"].row)

    await daemon.execute(begin_as(Caller(OWNER)))
    await daemon.execute("update discussions set deleted_at = now()")
    await daemon.execute("commit")
    for caller in (Caller(OWNER), Caller(OTHER), ANYBODY):
        await daemon.execute(begin_as(caller))
        assert await daemon.fetchval("select count(*) from discussions where content is null") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await daemon.fetchval("select deleted_content from discussions")
        await daemon.execute("rollback")
    await daemon.execute(begin_as(Caller(OWNER)))
    assert await daemon.execute("update discussions set content = 'again', deleted_at = null") == "UPDATE 0"
    await daemon.execute("rollback")
    assert await administrator.fetchval("select deleted_content from discussions") == "hello"


async def test_an_author_cannot_change_an_old_comment_or_hide_that_a_young_one_was_changed(
    administrator: Connection, daemon: Connection
) -> None:
    await insert_markets(administrator)
    row = tables(OWNER)["discussions"].row
    for minutes, content in ((14, "young"), (16, "old")):
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        await insert(administrator, "discussions", **row | {"content": content, "created_at": at})

    await daemon.execute(begin_as(Caller(OWNER)))
    await daemon.execute("update discussions set content = 'changed' where content = 'young'")
    assert await daemon.fetchval("select edited_at = now() from discussions where content = 'changed'")
    await daemon.execute("commit")
    for forbidden, error in (
        ("update discussions set content = 'changed' where content = 'old'", "too old to be changed"),
        ("update discussions set edited_at = null", "permission denied"),
    ):
        await daemon.execute(begin_as(Caller(OWNER)))
        with pytest.raises(asyncpg.PostgresError, match=error):
            await daemon.execute(forbidden)
        await daemon.execute("rollback")
    await daemon.execute(begin_as(Caller(OWNER)))
    await daemon.execute("update discussions set deleted_at = '2001-01-01' where content = 'old'")
    assert await daemon.fetchval("select deleted_at = now() from discussions where content is null")
    await daemon.execute("commit")


async def test_claims_without_a_wallet_own_nothing(administrator: Connection, daemon: Connection) -> None:
    await insert_markets(administrator)
    await insert(administrator, "users", wallet=OWNER)

    for claims in ("", "{}", '{"sub": null}', '{"sub": ""}'):
        await daemon.execute(
            f"begin; set local role authenticated; set local request.jwt.claims = '{claims}'"
        )
        assert await daemon.fetchval("select count(*) from users") == 0
        assert await daemon.fetchval("select count(*) from user_positions") == 0
        await daemon.execute("rollback")


async def insert_without_reading(connection: Connection, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"insert into {table} ({', '.join(row)}) values ({places})", *row.values())
