"""What is kept of trades that were there before it was."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert_market, insert_trade, wallet
from zmartd.indexer.audit.kept_sums import differences_of, standing_differences
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.migrations import SQL_DIRECTORY, migrate
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE

POSITIONS = """
insert into user_positions (market_id, user_wallet, shares_yes, shares_no, trades_count)
select market_id, user_wallet, 0, 0, count(*) from trades group by market_id, user_wallet
on conflict (market_id, user_wallet) do update set trades_count = excluded.trades_count
"""
TRADERS = [wallet(name) for name in ("alice", "bob", "carol")]


async def trade(connection: Connection, rng: random.Random, market: str, name: str) -> None:
    second = rng.choice((0, 299, 300, rng.randrange(400_000)))
    await insert_trade(
        connection,
        name,
        market,
        rng.choice(TRADERS),
        trade_type=rng.choice(("buy", "sell")),
        outcome=rng.random() < 0.5,
        shares=rng.randrange(1, 2**40),
        price_after=Decimal(rng.randrange(10**9)) / 10**9,
        slot=second,
        block_time=NOON + timedelta(seconds=second),
        cost=rng.randrange(2**64),
        amount=rng.randrange(2**64),
    )


def copy_before(number: int, directory: Path) -> None:
    for file in SQL_DIRECTORY.glob("*.sql"):
        if int(file.name[:4]) < number:
            (directory / file.name).write_text(file.read_text())


async def test_trades_from_before_have_their_candles_lots_and_results(
    empty_database_url: str, tmp_path: Path
) -> None:
    """Trading goes on meanwhile, and each is interrupted."""
    (candles,), (results,) = SQL_DIRECTORY.glob("*_candles.sql"), SQL_DIRECTORY.glob("*_kept_results.sql")
    rng = random.Random(1)
    copy_before(int(candles.name[:4]), tmp_path)
    await migrate(empty_database_url, tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    markets = [
        await insert_market(connection, "over", MarketState.FINALIZED, final_outcome=True, finalized_at=NOON),
        *[await insert_market(connection, f"m{one}") for one in range(2)],
    ]
    for count in range(200):
        await trade(connection, rng, rng.choice(markets[:2]), f"before {count}")
    await connection.execute(POSITIONS)
    await connection.execute("commit")

    for kept, fill in ((candles, "candles"), (results, "results")):
        copy_before(int(kept.name[:4]) + 1, tmp_path)
        await migrate(empty_database_url, tmp_path)
        await connection.execute(BEGIN_AS_SERVICE)
        for count in range(20):
            await trade(connection, rng, rng.choice(markets), f"{fill} {count}")
        await connection.execute(POSITIONS)
        while await connection.fetchval(f"select zmartd.fill_{fill}(7)"):
            if await connection.fetchval(f"select max(market_id) from zmartd.{fill}_filled") != min(markets):
                break
        await connection.execute("commit")

    await migrate(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    assert [one for market in markets for one in await differences_of(connection, market)] == []
    assert await standing_differences(connection) == []
    assert await connection.fetchval("select sum(trades) from candles where seconds = 86400") == 240
    assert await connection.fetchval("select sum(trades) from lots") == 240
    assert await connection.fetchval("select count(*) from position_results") == 3
    await connection.close()
