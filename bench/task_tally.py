"""What it costs to find the proposals that enough wallets like, and to count their votes, of very many."""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import click
from asyncpg import Connection

from bench import tick_memory
from bench.figures import Figure
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.market.ids import base58_encode
from zmartd.store import due_markets
from zmartd.store.due_markets import PROPOSALS_TO_CLOSE
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.tasks.vote_counting import DUE_AT_ONCE

ROUNDS = 9
MIN_VOTES = 10
THRESHOLD_BPS = 7_000
WALLETS = 20_000
"""They share the votes; each tenth has traded."""
SEED = 5
AT = datetime(2026, 3, 1, tzinfo=UTC)

_SCAN = "select count(*) filter (where vote) from proposal_votes"
_SEQUENTIAL = ("enable_indexscan", "enable_indexonlyscan", "max_parallel_workers_per_gather")


async def measure(directory: Path, markets: int, votes: int) -> list[Figure]:
    """The statement of a run of the vote aggregator beside one sequential scan of the same votes, with its
    plan on the standard error, and what a run holds in memory.
    """
    async with EmbeddedPostgres(directory / "postgres") as postgres:
        await migrate(postgres.dsn)
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres.dsn)))
        try:
            figures = await _beside_a_scan(postgres.dsn, database, markets, votes)
        finally:
            await database.close()
    return figures + await tick_memory.measure(directory, votes)


async def _beside_a_scan(dsn: str, database: Database, markets: int, votes: int) -> list[Figure]:
    connection = await asyncpg.connect(dsn)
    try:
        await _fill(connection, markets, votes)
        arguments = AT, MIN_VOTES, THRESHOLD_BPS, None, None, None, DUE_AT_ONCE
        plan = await connection.fetch(f"explain (analyze, buffers) {PROPOSALS_TO_CLOSE}", *arguments)
        click.echo("\n".join(row[0] for row in plan), err=True)
        for setting in _SEQUENTIAL:
            await connection.execute(f"set {setting} = 0")
        floor = "\n".join(row[0] for row in await connection.fetch(f"explain {_SCAN}"))
        assert "->  Seq Scan" in floor, floor

        async def scan() -> None:
            await connection.fetchval(_SCAN)

        async def tally() -> None:
            async with database.service() as service:
                await due_markets.proposals_to_close(
                    service, MIN_VOTES, THRESHOLD_BPS, AT, after=None, limit=DUE_AT_ONCE
                )

        ratio, seconds = await _by_turns(tally, scan)
    finally:
        await connection.close()
    return [
        Figure(
            f"{markets} proposals with {votes} votes: the time of a scan of all votes", ratio, "times",
            note=f"goal: ≤ 1.2; {seconds * 1e3:.0f} ms; median of {ROUNDS} pairs",
        )
    ]  # fmt: skip


async def _fill(connection: Connection, markets: int, votes: int) -> None:
    wallets = [_address(f"wallet {number}") for number in range(WALLETS)]
    ids = [hashlib.sha256(f"market {number}".encode()).hexdigest() for number in range(markets)]
    rng = random.Random(SEED)
    liked = [rng.random() for _ in ids]
    each = votes // markets
    # Foreign keys and triggers are for what strangers send.
    await connection.execute("set session_replication_role = replica")
    await connection.copy_records_to_table(
        "markets",
        records=[(one, _address(one), "PROPOSED", wallets[0], True) for one in ids],
        columns=["id", "on_chain_address", "state", "creator_wallet", "chain_confirmed"],
    )
    await connection.copy_records_to_table(
        "user_positions",
        records=[(ids[0], wallet, 1) for wallet in wallets[::10]],
        columns=["market_id", "user_wallet", "trades_count"],
    )
    traders = set(wallets[::10])
    for one, share in zip(ids, liked, strict=True):
        await connection.copy_records_to_table(
            "proposal_votes",
            records=[
                (one, wallet, rng.random() < share, wallet in traders) for wallet in rng.sample(wallets, each)
            ],
            columns=["market_id", "user_wallet", "vote", "by_trader"],
        )
    await connection.execute("set session_replication_role = origin")
    for table in ("markets", "user_positions", "proposal_votes"):
        await connection.execute(f"vacuum analyze {table}")


async def _by_turns(
    measured: Callable[[], Awaitable[None]], floor: Callable[[], Awaitable[None]]
) -> tuple[float, float]:
    """The median of the ratios of their times, and the median of the first's in seconds."""
    ratios, spent = [], []
    for _ in range(ROUNDS):
        seconds = []
        for work in (measured, floor):
            begun = time.perf_counter()
            await work()
            seconds.append(time.perf_counter() - begun)
        ratios.append(seconds[0] / seconds[1])
        spent.append(seconds[0])
    return statistics.median(ratios), statistics.median(spent)


def _address(name: str) -> str:
    return base58_encode(hashlib.sha256(name.encode()).digest())
