"""The tables: indexes, rows that are gone and still take room, who sees them, and how large they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from zmartd.doctor.check import Check, Outcome, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.store import catalog, inbox, parked, schema
from zmartd.store.postgres.index_statements import index_statements
from zmartd.store.postgres.migrations import connected
from zmartd.store.retention import expiring_rows

LEAST_DEAD_ROWS: Final = 50_000
DEAD_PART: Final = 0.4
"""Autovacuum comes when a fifth is dead, unless something keeps it."""
UNUSED_BYTES: Final = 67_108_864
COUNTED_SECONDS: Final = 604_800
"""A report that runs once a week may need an index."""
OLDEST_TRANSACTIONS: Final = 1_000_000_000
"""Autovacuum freezes from 200 million on; at 2.1 billion Postgres takes no writes any more."""

OVERDUE: Final = timedelta(days=1)
"""So late is no row that the task works off."""

_URL = ("database.url",)
_NEEDS = ("database", "migrations")


async def _indexes(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        present = {one.name: one for one in await catalog.indexes(connection)}
    wanted, found = index_statements(), []
    for name, statement in wanted.items():
        if name not in present:
            found.append(
                warning(
                    f"{name} is missing, so queries read whole tables",
                    f"{statement};",
                    _running(patient, statement),
                )
            )
    for index in present.values():
        quoted = '"' + index.name.replace('"', '""') + '"'
        if not index.is_valid:
            again = f"REINDEX INDEX CONCURRENTLY public.{quoted}"
            found.append(
                warning(
                    f"{index.name} was not built to its end, so no query uses it",
                    f"{again};",
                    _running(patient, again),
                )
            )
        elif (
            index.name not in wanted
            and not index.is_unique
            and index.scans == 0
            and index.bytes > UNUSED_BYTES
            and index.counted_seconds > COUNTED_SECONDS
        ):
            found.append(
                warning(
                    f"{index.name} on {index.table_name} is not zmartd's, has {index.bytes // 1_048_576} "
                    "MB, and was "
                    "never used",
                    f"DROP INDEX CONCURRENTLY public.{quoted};",
                )
            )
    return found or [ok(f"all {len(wanted)} that queries need are there")]


async def _bloat(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        bloated = await catalog.bloated(connection, more_than=LEAST_DEAD_ROWS, part=DEAD_PART)
        age = await catalog.transactions_since_freeze(connection)
    found = []
    for table in bloated:
        statement = f'VACUUM (ANALYZE) public."{table.name}"'
        found.append(
            warning(
                f"{table.dead} rows of {table.name} are dead beside {table.live}: autovacuum does not keep "
                "up, or a "
                "transaction that stays open keeps it",
                f"{statement};",
                _running(patient, statement),
            )
        )
    if age > OLDEST_TRANSACTIONS:
        found.append(
            warning(
                f"rows were not frozen for {age} transactions; at 2.1 billion Postgres takes no writes any "
                "more",
                "VACUUM (FREEZE);",
            )
        )
    return found or [ok("autovacuum keeps up")]


async def _guards(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        names = await catalog.open_tables(connection)
    return [
        warning(
            f"{name} has no row level security, and anon or authenticated have rights to it: at Supabase "
            "everybody "
            "has it over HTTP",
            f'ALTER TABLE public."{name}" ENABLE ROW LEVEL SECURITY;',
        )
        for name in names
    ] or [ok("every table has row level security")]


async def _retention(patient: Patient) -> Sequence[Outcome]:
    assert patient.database is not None, "set by the check `migrations`"
    settings = patient.settings
    rows = expiring_rows(
        retention=settings.retention,
        transactions=settings.transactions,
        markets=settings.markets,
        realtime=settings.realtime,
        alerts=settings.alerts,
    )
    late = set[str]()
    for one in rows:
        async with patient.database.service_reader() as connection:
            if await one.are_overdue(connection, by=OVERDUE):
                late.add(one.table)
    if not late:
        return [ok("what has expired is deleted within a day")]
    return [
        warning(
            f"rows of {', '.join(sorted(late))} should have been deleted over a day ago",
            "let a daemon run the task stream_retention: `zmartd tasks` says whether one does; after an "
            "upgrade it may take hours",
        )
    ]


async def _size(patient: Patient) -> Sequence[Outcome]:
    most = patient.settings.alerts.database_max_bytes
    async with patient.as_login() as connection:
        used = await catalog.size(connection)
    if most and used > most:
        return [
            warning(
                f"{used} bytes, and alerts.database_max_bytes is {most}",
                "make room on the server's disk, then raise it; Postgres stops when its disk is full",
            )
        ]
    return [ok(f"{used / 1_048_576:.0f} MB{f' of {most / 1_048_576:.0f} MB' if most else ''}")]


async def _search(patient: Patient) -> Sequence[Outcome]:
    if await schema.finds_small_mistakes(patient.settings.database.url.reveal()):
        return [ok("finds words with small mistakes, too")]
    return [
        warning(
            "finds nothing for words with a letter wrong, because it cannot use pg_trgm",
            "as an administrator run CREATE EXTENSION pg_trgm in this database, grant USAGE on its schema "
            "to anon, "
            "authenticated and service_role, and then run `zmartd migrate`",
        )
    ]


async def _index(patient: Patient) -> Sequence[Outcome]:
    assert patient.database is not None, "set by the check `migrations`"
    async with patient.database.service() as connection:
        transactions = sum((await parked.counts(connection)).values())
        deliveries = (await inbox.depth(connection)).parked
    found = []
    if transactions:
        found.append(
            warning(
                f"{transactions} transactions could not be read or applied yet",
                "`zmartd inbox parked` lists them, `zmartd inbox retry --all` tries them again",
            )
        )
    if deliveries:
        found.append(
            warning(
                f"{deliveries} deliveries are parked",
                "`zmartd inbox list` lists them, `zmartd inbox replay --all` tries them again",
            )
        )
    return found or [ok("nothing is parked")]


def _running(patient: Patient, statement: str) -> Callable[[], Awaitable[None]]:
    url = patient.settings.database.url.reveal()

    async def run() -> None:
        async with connected(url) as connection:
            await connection.execute(statement)

    return run


CHECKS = (
    Check(
        name="indexes",
        look=_indexes,
        about="indexes that migrations made and that are missing or invalid, and others that nobody uses",
        uses=_URL,
        needs=_NEEDS,
    ),
    Check(
        name="bloat",
        look=_bloat,
        about="tables in which too many rows are dead, and transaction ids that run out",
        uses=_URL,
        needs=_NEEDS,
    ),
    Check(
        name="row level security",
        look=_guards,
        about="tables that callers could reach past the daemon, as over Supabase's HTTP API",
        uses=_URL,
        needs=_NEEDS,
    ),
    Check(
        name="retention",
        look=_retention,
        about="rows that should have been deleted a day ago, as docs/database.md says it",
        uses=_URL,
        needs=_NEEDS,
    ),
    Check(
        name="size",
        look=_size,
        about="the database's size, and alerts.database_max_bytes",
        uses=_URL,
        needs=_NEEDS,
    ),
    Check(name="search", look=_search, about="whether search can use pg_trgm", uses=_URL, needs=_NEEDS),
    Check(
        name="index",
        look=_index,
        about="transactions and deliveries that were set aside",
        uses=_URL,
        needs=_NEEDS,
    ),
)
