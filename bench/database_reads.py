"""Measures reads of one row, without and with row level security."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

import asyncpg

from bench.cpu_affinity import on_core
from bench.figures import Figure
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller

_POSITION = """
select market_id, user_wallet, shares_yes, shares_no, total_invested from user_positions
 where market_id = $1 and user_wallet = $2
"""
_ROUNDS = 15
_READS = 400


async def measure(postgres: EmbeddedPostgres, database: Database) -> list[Figure]:
    """Reads per second of one position by its primary key, each kind in the same rounds.

    The floor is a plain connection of asyncpg. This process and Postgres share a core, since on two cores
    they spend more time on waking each other than on the work.
    """
    connection = await asyncpg.connect(postgres.dsn)
    pool = await asyncpg.create_pool(postgres.dsn, min_size=1, max_size=4)
    try:
        row = await connection.fetchrow("select market_id, user_wallet from user_positions limit 1")
        assert row is not None, "the bench has made positions"
        market_id, wallet = row["market_id"], row["user_wallet"]
        caller = Caller(wallet)

        async def plain() -> None:
            await connection.fetchrow(_POSITION, market_id, wallet)

        async def pooled() -> None:
            await pool.fetchrow(_POSITION, market_id, wallet)

        async def reading() -> None:
            async with database.reader(caller) as mine:
                await mine.fetchrow(_POSITION, market_id, wallet)

        async def transaction() -> None:
            async with database.caller(caller) as mine:
                await mine.fetchrow(_POSITION, market_id, wallet)

        with on_core(min(os.sched_getaffinity(0)), postgres.pid):
            floor, pooled_rate, reading_rate, transaction_rate = await _rates(
                [plain, pooled, reading, transaction]
            )
    finally:
        await connection.close()
        await pool.close()
    return [
        Figure("read as a wallet", reading_rate, "reads/s", floor, 0.45, "floor: fetchrow of one connection"),
        Figure("  against asyncpg's pool", reading_rate, "reads/s", pooled_rate, note="floor: pool.fetchrow"),
        Figure(
            "  in a transaction of its own", transaction_rate, "reads/s", floor,
            note="BEGIN with role and claims, read, COMMIT",
        ),
    ]  # fmt: skip


async def _rates(reads: list[Callable[[], Awaitable[None]]]) -> list[float]:
    """The reads per second of each, in the best of several rounds."""
    best = [0.0] * len(reads)
    for _ in range(_ROUNDS):
        for number, read in enumerate(reads):
            started = time.perf_counter()
            for _ in range(_READS):
                await read()
            best[number] = max(best[number], _READS / (time.perf_counter() - started))
    return best
