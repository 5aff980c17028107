"""Walks through 20,000 trades, page after page, while trades are written all over the list."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert_market, wallet
from zmartd.store import trades
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, Caller
from zmartd.store.trades import PricePageKey, TradeFilter, TradePageKey

ROWS, CHUNK = 20_000, 2_000
FEWER_ROWS = 5_000
"""Where all are of one market, of whose candles each late one costs more, and for plans."""
SLOTS = 30_000
WALLETS = [wallet(f"trader {number}") for number in range(20)]

_INSERT = """
insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, price_after, tx_signature,
                    event_index, slot, index_in_block, block_time)
select market_id, user_wallet, case when buys then 'buy' else 'sell' end, yes, 1000000, 1000,
       ($8 + place)::numeric / 1000000000,
       rpad(translate($7 || lpad(place::text, 8, '0'), '0', 'z'), 88, '1'), 0, slot, in_block,
       $6::timestamptz + slot * interval '1 minute'
  from unnest($1::text[], $2::text[], $3::bool[], $4::bool[], $5::bigint[], $9::int[])
       with ordinality as rows (market_id, user_wallet, buys, yes, slot, in_block, place)
returning id, slot, market_id, user_wallet, outcome, trade_type,
          (slot, coalesce(index_in_block, -1), id) as chain_place,
          (price_after * 1000000000)::bigint as price_yes
"""

Key = tuple[int, int]
Late = list[tuple[int, list[dict[str, Any]]]]
"""Rows with how many pages had been read when they were committed."""


class Book:
    """What has been written, and the walk's progress when it was."""

    def __init__(self, random_source: random.Random, markets: list[str]) -> None:
        self._random = random_source
        self._markets = markets
        self._batches = 0
        self._rows = 0

    async def write(self, connection: Connection, count: int) -> list[dict[str, Any]]:
        choose = self._random.choice
        self._batches += 1
        rows = await connection.fetch(
            _INSERT,
            [choose(self._markets) for _ in range(count)],
            [choose(WALLETS) for _ in range(count)],
            [choose((True, False)) for _ in range(count)],
            [choose((True, False)) for _ in range(count)],
            [self._random.randrange(SLOTS) for _ in range(count)],
            NOON,  # a minute to a slot: what comes late writes the candle of its five minutes again
            "abcdefghij"[self._batches // 1_000] + f"{self._batches % 1_000:03}",
            self._rows,
            [choose((None, 0, 1, 2)) for _ in range(count)],
        )
        self._rows += count
        return [dict(row) for row in rows]


def _keys(rows: list[dict[str, Any]], where: TradeFilter) -> set[Key]:
    wanted = {
        "market_id": where.market_id,
        "user_wallet": where.wallet,
        "outcome": where.outcome,
        "trade_type": where.trade_type,
    }
    return {
        (int(str(row["slot"])), int(str(row["id"])))
        for row in rows
        if all(value is None or row[column] == value for column, value in wanted.items())
    }


@pytest.fixture
async def book(database: Database) -> Book:
    async with database.service() as connection:
        return Book(random.Random(20_261_123), [await insert_market(connection, f"m{n}") for n in range(4)])


async def written(database: Database, book: Book, number: int) -> list[dict[str, Any]]:
    """The rows that are there at first."""
    rows: list[dict[str, Any]] = []
    while len(rows) < number:
        async with database.service() as connection:
            rows += await book.write(connection, CHUNK)
    return rows


async def test_a_walk_neither_skips_nor_repeats_a_trade_while_others_are_written(
    database: Database, book: Book
) -> None:
    existing = await written(database, book, ROWS)
    walks = [
        (ANYBODY, TradeFilter(), 97),
        (ANYBODY, TradeFilter(market_id=book._markets[0]), 61),
        (Caller(WALLETS[1]), TradeFilter(wallet=WALLETS[0]), 13),
        (ANYBODY, TradeFilter(market_id=book._markets[1], outcome=True, trade_type="sell"), 17),
    ]
    for caller, where, limit in walks:
        places: list[Key] = []
        late: Late = []
        writers: set[asyncio.Task[None]] = set()

        async def write(places: list[Key] = places, late: Late = late) -> None:
            async with database.service() as connection:
                rows = await book.write(connection, 20)
            late.append((len(places), rows))

        found: list[Key] = []
        after: TradePageKey | None = None
        while True:
            if len(places) % 5 == 0:
                writers.add(asyncio.create_task(write()))
            async with database.caller(caller) as connection:
                page = await trades.page(connection, caller, where, limit, after=after)
            found += [(trade.slot, trade.id) for trade in page.rows]
            places.append(found[-1])
            after = page.next_key
            if after is None:
                break
        await asyncio.gather(*writers)

        assert found == sorted(set(found), reverse=True)
        assert _keys(existing, where) <= set(found)
        # What was committed while page n was read, and has its place after page n, was still ahead.
        ahead = {
            key
            for pages, rows in late
            if pages < len(places)
            for key in _keys(rows, where)
            if key < places[pages]
        }
        assert ahead, "nothing was written ahead of the walk: the test shows nothing"
        assert ahead <= set(found)
        existing += [row for _, rows in late for row in rows]


async def test_a_walk_through_a_price_history_sees_every_price_once_while_trades_are_written(
    database: Database, book: Book
) -> None:
    market = book._markets[2]
    book._markets = [market]
    rows = await written(database, book, FEWER_ROWS)
    existing = {int(str(row["price_yes"])): row["chain_place"] for row in rows}
    known = dict(existing)
    ahead: set[int] = set()
    found: list[int] = []
    before: PricePageKey | None = None
    while True:
        async with database.service() as connection:
            rows = await book.write(connection, 5)
        for row in rows:
            price, place = int(str(row["price_yes"])), row["chain_place"]
            known[price] = place
            if before is None or place < (before.slot, before.in_block, before.id):
                ahead.add(price)
        async with database.caller(ANYBODY) as connection:
            page = await trades.price_history(connection, market, 200, before)
        found += [point.price_yes for point in page.rows]
        before = page.next_key
        if before is None:
            break

    assert [known[price] for price in found] == sorted((known[price] for price in found), reverse=True)
    assert len(set(found)) == len(found)
    assert ahead > set(), "nothing was written ahead of the walk: the test shows nothing"
    assert set(found) == set(existing) | ahead


async def plan(database_url: str, query: str, *arguments: object) -> str:
    """How Postgres would read it, knowing what is in the tables: only their owner may have it look."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("analyze trades")
    lines = await connection.fetch(f"explain {query}", *arguments)
    await connection.close()
    return "\n".join(line[0] for line in lines)


async def test_a_page_of_prices_is_read_from_an_index_however_deep_it_is(
    database: Database, database_url: str, book: Book
) -> None:
    await written(database, book, FEWER_ROWS)
    text = await plan(
        database_url,
        "select block_time from trades where market_id = $1"
        " and slot <= 20000 and (slot < 20000 or (coalesce(index_in_block, -1), id) < (-1, 5))"
        " order by slot desc, coalesce(index_in_block, -1) desc, id desc limit 50",
        book._markets[0],
    )
    assert "Index Scan using trades_by_market" in text
    assert "slot <= 20000" in text
    assert "Incremental Sort" in text


async def test_a_page_is_read_from_an_index_however_deep_it_is(
    database: Database, database_url: str, book: Book
) -> None:
    await written(database, book, FEWER_ROWS)
    for condition in ("true", f"market_id = '{book._markets[0]}'", f"user_wallet = '{WALLETS[0]}'"):
        text = await plan(
            database_url,
            f"select * from trades where {condition} and (slot, id) < (20000, 5)"
            " order by slot desc, id desc limit 50",
        )
        assert "Index Scan using trades_" in text
        assert "Sort" not in text
