"""Measures what applying and reading cost in databases with ever more trades.

    python -m bench.scale [--from N] [--up-to N] [--directory D] [--seconds S] [--requests N] [--pooled]
                          [--in-place] [--json]

It starts Postgres (every commit on disk), Valkey and a synthetic Solana node, and fills a database with each
power of ten of trades, unless it is there from an earlier run. Of each it measures a copy, or with --in-place
the database itself, which is gone then: a daemon in its own process is asked over HTTP, then the indexer
applies more trades. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import click
import msgspec
import uvloop
from msgspec import Struct

from bench.scale_daemon import POOL_SIZE, Ready
from bench.scale_figures import Cost, SizeFigures, cost_of, print_sizes
from bench.scale_fill import fill, history_of
from bench.scale_reads import READS, WARMING, Client, Read, Subjects
from bench.servers import HistorySize, Servers, second_process, servers
from bench.synthetic_history import IDL
from tests.pgbouncer import PgBouncer
from zmartd import config, log
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.core import open_core
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.store import leaderboard
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

SIZES: Final = tuple(10**power for power in range(3, 8))
SINGLES: Final = 300
BATCHES: Final = 20
BATCH: Final = 100
_MEASURED, _FILLING = "measured", "filling"
_ROWS_READ = """
select (select coalesce(sum(seq_tup_read), 0) from pg_stat_user_tables)
     + (select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes)
"""
"""Rows that were read in the order of their table, and entries of indexes."""


class Limits(Struct, frozen=True):
    """How long each read is asked: so many times, or for so many seconds if that is less."""

    requests: int
    seconds: float


async def measure(
    directory: Path, sizes: Sequence[int], limits: Limits, *, pooled: bool, in_place: bool = False
) -> list[SizeFigures]:
    """The figures of each size, smallest first; through PgBouncer, if `pooled`."""
    async with AsyncExitStack() as stack:
        surroundings = await stack.enter_async_context(
            servers(directory, HistorySize(seed=1, markets=1, wallets=1))
        )
        url = surroundings.postgres.dsn_of(_MEASURED)
        if pooled:
            pgbouncer = PgBouncer(
                directory / "pgbouncer",
                surroundings.postgres,
                default_pool_size=str(POOL_SIZE),
                server_idle_timeout="1",
            )
            url = (await stack.enter_async_context(pgbouncer)).url_of(_MEASURED)
        return [await _of(surroundings, url, trades, limits, in_place=in_place) for trades in sizes]


async def _of(surroundings: Servers, url: str, trades: int, limits: Limits, *, in_place: bool) -> SizeFigures:
    """`url` is that of the database that is measured, for those who are measured."""
    postgres = surroundings.postgres
    settings = msgspec.structs.replace(surroundings.settings, database=_database_settings(url))
    filled = await _filled(postgres, trades)
    async with _measured(postgres, filled, in_place=in_place) as connection:
        await migrate(postgres.dsn_of(_MEASURED))  # it may have been filled by an earlier release
        size = await connection.fetchval("select pg_database_size(current_database())")
        costs = [await _edition("first edition of the leaderboard", settings.database, connection)]
        reads, resident = await _reads(settings, connection, limits)
        costs += reads
        click.echo(f"  the trades after {trades} …", err=True)
        following = _after(trades, 1 + SINGLES + BATCHES * BATCH)
        click.echo("  apply …", err=True)
        await _applied(settings, connection, following[:1], 1)
        costs.append(await _edition("edition after a trade", settings.database, connection))
        singly, one_by_one = await _applied(settings, connection, following[1 : 1 + SINGLES], 1)
        batches, together = await _applied(settings, connection, following[1 + SINGLES :], BATCH)
    return SizeFigures(
        trades, [*costs, one_by_one, together], singly, batches, resident / 2**20, size / trades
    )


async def _filled(postgres: EmbeddedPostgres, trades: int) -> str:
    """The name of the database with so many trades, which is filled unless it is there."""
    name = f"scale_{trades}"
    administrator = await asyncpg.connect(postgres.dsn)
    try:
        if await administrator.fetchval("select true from pg_database where datname = $1", name):
            return name
        await administrator.execute(f"drop database if exists {_FILLING} with (force)")
        await administrator.execute(f"create database {_FILLING} template template0")
        await migrate(postgres.dsn_of(_FILLING))
        await fill(postgres.dsn_of(_FILLING), history_of(trades), trades)
        await administrator.execute(f"alter database {_FILLING} rename to {name}")
    finally:
        await administrator.close()
    return name


@asynccontextmanager
async def _measured(
    postgres: EmbeddedPostgres, filled: str, *, in_place: bool
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a copy of a filled database, or to that itself; either is gone afterwards."""
    administrator = await asyncpg.connect(postgres.dsn)
    try:
        await administrator.execute(f"drop database if exists {_MEASURED} with (force)")
        if in_place:
            await administrator.execute(f"alter database {filled} rename to {_MEASURED}")
        else:
            await administrator.execute(
                f"create database {_MEASURED} template {filled} strategy file_copy", timeout=3_600
            )
        connection = await asyncpg.connect(postgres.dsn_of(_MEASURED))
        try:
            yield connection
        finally:
            await connection.close()
            await administrator.execute(f"drop database {_MEASURED} with (force)")
    finally:
        await administrator.close()


async def _edition(name: str, settings: config.DatabaseSettings, connection: asyncpg.Connection) -> Cost:
    """The computation of a new leaderboard."""
    click.echo(f"  {name} …", err=True)
    now = await connection.fetchval("select max(block_time) from trades")
    before = await _after_all_have_left(connection)
    database = await Database.connect(settings)
    try:
        async with database.service() as service:
            begun = time.perf_counter()
            await leaderboard.publish(service, now, timedelta(0))
            milliseconds = 1_000 * (time.perf_counter() - begun)
    finally:
        await database.close()
    rows = await _after_all_have_left(connection) - before
    return Cost(name, 1, milliseconds, milliseconds, rows)


async def _reads(
    settings: config.Settings, connection: asyncpg.Connection, limits: Limits
) -> tuple[list[Cost], int]:
    """The costs of all reads, and the bytes that the daemon has in memory after them."""
    subjects = await Subjects.of(connection)
    await connection.execute("select pg_stat_force_next_flush()")  # what this has read is no answer's
    urls = settings.database.url.reveal(), settings.redis.url.reveal()
    rpc_port = settings.solana.rpc_url.reveal().rsplit(":", 1)[1]
    arguments = (*urls, rpc_port, subjects.busiest_wallet)
    costs = []
    async with second_process("bench.scale_daemon", *arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = msgspec.json.decode(await process.stdout.readline(), type=Ready)
        client = await Client.connect(ready.port, ready.token)
        rows_read = partial(_rows_read, process.stdin, process.stdout, connection)
        for read in READS:
            click.echo(f"  {read.name} …", err=True)
            costs.append(await _cost(read, partial(_ask, client, subjects, read), rows_read, limits))
        client.close()
        resident = _resident_bytes(process.pid)
        process.stdin.close()
    return costs, resident


async def _rows_read(
    to: asyncio.StreamWriter, of: asyncio.StreamReader, connection: asyncpg.Connection
) -> int:
    """The rows that the daemon has read until now."""
    to.write(b"\n")
    await of.readline()
    return int(await connection.fetchval(_ROWS_READ))


async def _ask(client: Client, subjects: Subjects, read: Read) -> float:
    return await client.ask(subjects.path_of(read), signed_in=read.signed_in)


async def _cost(
    read: Read,
    ask: Callable[[], Awaitable[float]],
    rows_read: Callable[[], Awaitable[int]],
    limits: Limits,
) -> Cost:
    until = time.monotonic() + limits.seconds
    for _ in range(WARMING):
        await ask()
        if time.monotonic() > until:
            break
    before = await rows_read()
    until = time.monotonic() + limits.seconds
    taken = [await ask()]
    while len(taken) < limits.requests and time.monotonic() < until:
        taken.append(await ask())
    rows = await rows_read() - before
    return cost_of(read.name, taken, rows / len(taken))


def _after(trades: int, count: int) -> list[ChainTransaction]:
    """The transactions of the next `count` trades of the history that the database was filled with."""
    history = history_of(trades)
    history.openings()
    for _ in history.placed_trades(trades):
        pass
    parse = partial(parse_transaction, program_id=IDL.program_id, codec=Codec(IDL))
    return [parse(msgspec.json.decode(one)) for one in history.trades(count)]


async def _applied(
    settings: config.Settings,
    connection: asyncpg.Connection,
    transactions: Sequence[ChainTransaction],
    size: int,
) -> tuple[float, Cost]:
    """Events per second, and the cost of each event, where so many are applied together."""
    before = await _after_all_have_left(connection)
    taken = []
    async with open_core(settings, SystemClock()) as core:
        for start in range(0, len(transactions), size):
            begun = time.perf_counter()
            await core.indexer.apply(transactions[start : start + size])
            taken.append((time.perf_counter() - begun) / size)
    rows = await _after_all_have_left(connection) - before
    name = "apply, one by one" if size == 1 else f"apply, each of {size} together"
    return len(taken) / sum(taken), cost_of(name, taken, rows / len(transactions))


async def _after_all_have_left(connection: asyncpg.Connection) -> int:
    """The rows read until now. A backend that ends adds its own to them."""
    while await connection.fetchval(  # noqa: ASYNC110 - Postgres does not tell of it
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and backend_type = 'client backend' and pid <> pg_backend_pid())"
    ):
        await asyncio.sleep(0.05)
    return int(await connection.fetchval(_ROWS_READ))


def _database_settings(url: str) -> config.DatabaseSettings:
    """A statement may take longer than a daemon lets it: it is to be measured."""
    return config.DatabaseSettings(url=PostgresUrl(url), statement_timeout_seconds=120)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@click.command()
@click.option("--from", "least", type=click.IntRange(min=1), default=SIZES[0], show_default=True)
@click.option("--up-to", "most", type=click.IntRange(min=SIZES[0]), default=100_000, show_default=True)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()) / "zmartd-bench-scale",
    show_default=True,
    help="Keeps the filled databases between runs.",
)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5, show_default=True, help="Of each read.")
@click.option("--requests", type=click.IntRange(min=1), default=200, show_default=True, help="Of each read.")
@click.option("--pooled", is_flag=True, help="Through PgBouncer, which pools transactions.")
@click.option("--in-place", is_flag=True, help="Without a copy: the filled databases are gone afterwards.")
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(
    least: int,
    most: int,
    directory: Path,
    seconds: float,
    requests: int,
    pooled: bool,
    in_place: bool,
    only_json: bool,
) -> None:
    """Measure databases of 1,000 to 10,000,000 trades, each ten times larger than the one before."""
    log.configure("warning", "console")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)  # Postgres may run as another user
    sizes = [size for size in SIZES if least <= size <= most]
    limits = Limits(requests, seconds)
    figures = uvloop.run(measure(directory, sizes, limits, pooled=pooled, in_place=in_place))
    print_sizes(figures, only_json=only_json)


if __name__ == "__main__":
    main()
