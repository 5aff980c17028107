"""Candles of trades that were there before candles were kept."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert_market, insert_trade, wallet
from zmartd.store.postgres.migrations import SQL_DIRECTORY, migrate
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE

SECONDS = (300, 3_600, 86_400)
KEPT = """
select market_id, seconds, starts_at, open, high, low, close, volume, trades from candles order by 1, 2, 3
"""
COUNTED = """
select market_id, seconds, date_bin(make_interval(secs => seconds), block_time, 'epoch') as starts_at,
       (array_agg(price_after order by slot, index_in_block nulls first, id))[1] as open,
       max(price_after) as high, min(price_after) as low,
       (array_agg(price_after order by slot desc, index_in_block desc nulls last, id desc))[1] as close,
       sum(case trade_type when 'buy' then cost else amount end) as volume, count(*) as trades
  from trades, unnest($1::int[]) as period (seconds)
 group by market_id, seconds, starts_at order by 1, 2, 3
"""


async def trade(connection: Connection, rng: random.Random, market: str, name: str) -> None:
    second = rng.choice((0, 299, 300, rng.randrange(400_000)))
    await insert_trade(
        connection,
        name,
        market,
        wallet("trader"),
        trade_type=rng.choice(("buy", "sell")),
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


async def test_trades_from_before_have_their_candles(empty_database_url: str, tmp_path: Path) -> None:
    (kept,) = SQL_DIRECTORY.glob("*_candles.sql")
    number, rng = int(kept.name[:4]), random.Random(1)
    copy_before(number, tmp_path)
    await migrate(empty_database_url, tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    markets = [await insert_market(connection, f"m{one}") for one in range(3)]
    for count in range(200):
        await trade(connection, rng, rng.choice(markets[:2]), f"before {count}")
    await connection.execute("commit")

    copy_before(number + 1, tmp_path)
    await migrate(empty_database_url, tmp_path)
    await connection.execute(BEGIN_AS_SERVICE)
    for count in range(20):
        await trade(connection, rng, rng.choice(markets), f"meanwhile {count}")
    while await connection.fetchval("select zmartd.fill_candles(7)"):
        if await connection.fetchval("select count(*) from zmartd.candles_filled") == 2:
            break  # it is interrupted
    await connection.execute("commit")

    await migrate(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    assert await connection.fetch(KEPT) == await connection.fetch(COUNTED, SECONDS)
    assert await connection.fetchval("select sum(trades) from candles where seconds = 86400") == 220
    await connection.close()
