"""What the vote cache saves: `python -m bench.votes`.

It counts the votes of one market in Postgres, and reads them from Redis at the same position, on servers of
its own, with nothing else to do. Milliseconds, the median of 200 reads one after the other.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import click
from redis.asyncio import Redis

from zmartd import config, log
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.realtime.live_votes import LiveVotes
from zmartd.store import markets, votes
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

READS = 200
MARKET = "ab" * 32
_MARKET = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version)
values ($1, '9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin', 'Will it?', 'PROPOSED', 100000000000, 0, 0, 0.5,
        0, 0, 42, 1)
"""
_VOTES = """
insert into proposal_votes (market_id, user_wallet, vote)
select $1, translate(rpad(md5(n::text) || md5((-n)::text), 44, 'A'), '0', '1'), n % 3 > 0
  from generate_series($2::int, $3::int) as n
"""


async def median_ms(read: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(READS):
        begun = perf_counter()
        await read()
        taken.append(perf_counter() - begun)
    return statistics.median(taken) * 1_000


async def run(directory: Path) -> None:
    async with (
        EmbeddedPostgres(directory / "postgres", Durability.EPHEMERAL) as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        await migrate(postgres.dsn)
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres.dsn)))
        redis = Redis.from_url(valkey.url)
        live = LiveVotes(redis, database, SystemClock())
        async with database.service() as connection:
            await connection.execute(_MARKET, MARKET)
            position = await markets.position(connection, MARKET)
        assert position is not None

        async def count() -> None:
            async with database.service_reader() as reader:
                await votes.live(reader, [MARKET])

        async def ask() -> None:
            await live.at({MARKET: position})

        before = 0
        click.echo(f"{'votes':>9} {'Postgres':>9} {'Redis':>9}")
        for number in (10, 1_000, 100_000):
            async with database.service() as connection:
                await connection.execute("set local statement_timeout = '300s'")
                await connection.execute(_VOTES, MARKET, before + 1, number, timeout=300)
            async with database.service() as connection:
                await connection.execute("reset role")
                await connection.execute("analyze proposal_votes")
            await redis.flushall()
            before = number
            click.echo(f"{number:>9,} {await median_ms(count):>9.2f} {await median_ms(ask):>9.2f}")
        await redis.aclose()
        await database.close()


if __name__ == "__main__":
    log.configure("error", "console")
    with TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o711)
        asyncio.run(run(Path(temporary)))
