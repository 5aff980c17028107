"""The daemon that `bench.scale` asks, in its own process, so that its memory is its own.

    python -m bench.scale_daemon DSN REDIS_URL RPC_PORT WALLET

It prints its port and a token of WALLET when it listens. For each line on its standard input it makes
Postgres count what its connections have read, and prints a line; it serves until the input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

import click
import msgspec
import uvloop
from msgspec import Struct

from bench.servers import listening, settings_of
from zmartd import daemon, log
from zmartd.clock import SystemClock
from zmartd.core import open_core
from zmartd.http.auth.sessions import SESSIONS
from zmartd.store.postgres.database import Database

POOL_SIZE = 4


class Ready(Struct, frozen=True):
    """What the process prints first."""

    port: int
    token: str


async def serve(dsn: str, redis_url: str, rpc_port: int, wallet: str) -> None:
    settings = settings_of(dsn, redis_url, rpc_port)
    database = msgspec.structs.replace(settings.database, pool_size=POOL_SIZE, statement_timeout_seconds=120)
    async with open_core(msgspec.structs.replace(settings, database=database), SystemClock()) as core:
        app = daemon.application(core)
        async with listening(app) as port:
            daemon.tune_garbage_collection()
            token, _ = app[SESSIONS].open(wallet)
            print(msgspec.json.encode(Ready(port, token)).decode(), flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                await _count_reads(core.database)
                print(flush=True)


async def _count_reads(database: Database) -> None:
    """A backend adds what it has read to the statistics once a second at most, and later while it is idle."""
    async with AsyncExitStack() as all_of_them:
        for _ in range(POOL_SIZE):
            connection = await all_of_them.enter_async_context(database.service())
            await connection.execute("select pg_stat_force_next_flush()")


@click.command()
@click.argument("dsn")
@click.argument("redis_url")
@click.argument("rpc_port", type=int)
@click.argument("wallet")
def main(dsn: str, redis_url: str, rpc_port: int, wallet: str) -> None:
    """Serve the database at DSN."""
    log.configure("warning", "console")
    uvloop.run(serve(dsn, redis_url, rpc_port, wallet))


if __name__ == "__main__":
    main()
