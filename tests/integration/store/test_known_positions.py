"""Positions that are read again are what they are when they are read anew, whatever happens meanwhile."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec
import pytest
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert_market, insert_position, insert_trade, wallet
from tests.postgres_crashes import crashing_postgres
from zmartd.store import known_positions, positions
from zmartd.store.known_positions import KnownPositions
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.raw_positions import position_of

ALICE, BOB = wallet("alice"), wallet("bob")
_numbers = count()
CHANGES = (
    "update user_positions set shares_yes = shares_yes + 1 where market_id = $1",
    "update user_positions set last_trade_at = '2026-03-01' where market_id = $1",
    "update user_positions set last_trade_at = null where market_id = $1",
    "update markets set shares_yes = shares_yes + 1 where id = $1",
    "update markets set question = question || '?' where id = $1",
    "update lots set cost = cost + 1 where market_id = $1 and outcome",
    "update lots set shares = shares * 2 where market_id = $1 and not outcome",
    "delete from lots where market_id = $1",
    "delete from lots where market_id = $1 and outcome",
    "delete from lots where market_id = $1 and not outcome",
    "delete from user_positions where market_id = $1",
    "update protocol set protocol_fee_bps = coalesce(protocol_fee_bps, 300) - 1 where $1 <> ''",
)


class GivenUp(Exception):
    """Ends a transaction, which is then rolled back."""


async def open_position(connection: Connection) -> str:
    """In a market of its own, with a lot of each outcome."""
    number = next(_numbers)
    market = await insert_market(connection, f"market {number}")
    for outcome in (True, False):
        for holder in (ALICE, BOB):
            name = f"{number} {outcome} {holder}"
            await insert_trade(connection, name, market, holder, outcome=outcome, block_time=NOON)
    for holder in (ALICE, BOB):
        await insert_position(connection, market, holder, shares_no=10**9 + number)
    return market


async def read_again(database: Database, known: KnownPositions | None) -> KnownPositions:
    """What is read again, which has to be what is read anew."""
    async with database.reader(Caller(ALICE)) as reader:
        again = await known_positions.read(reader, ALICE, known)
        anew = await positions.of_wallet(reader, ALICE)
    assert again.holdings == anew
    assert again.lots == sum(one.lots for one in again.by_market.values())
    return again


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_read_again(database: Database, change: str) -> None:
    async with database.service() as connection:
        markets = [await open_position(connection) for _ in range(2)]
    known = await read_again(database, None)
    async with database.service() as connection:
        await connection.execute(change, markets[0])
    assert (await read_again(database, known)).holdings != known.holdings


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_changes_is_read_again(database: Database, seed: int) -> None:
    choose = random.Random(seed)
    async with database.service() as connection:
        markets = [await open_position(connection) for _ in range(8)]
    known = await read_again(database, None)
    for _ in range(30):
        async with database.service() as connection:
            for _ in range(choose.randrange(3)):
                await connection.execute(choose.choice(CHANGES), choose.choice(markets))
            if choose.random() < 0.3:
                markets.append(await open_position(connection))
        known = await read_again(database, known)


async def test_what_has_not_changed_is_not_read_again(database: Database) -> None:
    async with database.service() as connection:
        markets = [await open_position(connection) for _ in range(5)]
    before = await read_again(database, None)
    async with database.service() as connection:
        await connection.execute(CHANGES[0], markets[0])
        await connection.execute(CHANGES[3], markets[1])
    after = await read_again(database, before)
    is_same = {market: after.by_market[market].row is before.by_market[market].row for market in markets}
    assert is_same == {market: number > 1 for number, market in enumerate(markets)}
    assert (await read_again(database, after)).holdings is after.holdings


@pytest.mark.parametrize("commits", [True, False])
async def test_a_change_that_went_on_while_positions_were_read_is_read_when_it_is_there(
    database: Database, commits: bool
) -> None:
    async with database.service() as connection:
        markets = [await open_position(connection) for _ in range(3)]
    known = await read_again(database, None)
    with suppress(GivenUp):
        async with database.service() as connection:
            await connection.execute(CHANGES[0], markets[0])
            await connection.execute("savepoint inner_one")  # a transaction with an id of its own
            await connection.execute(CHANGES[3], markets[1])
            await connection.execute("release savepoint inner_one")
            async with database.service() as other:  # began later, and ends earlier
                await other.execute(CHANGES[1], markets[2])
            known = await read_again(database, known)
            if not commits:
                raise GivenUp
    shares = position_of(known.by_market[markets[0]].row).shares_yes
    known = await read_again(database, known)
    assert position_of(known.by_market[markets[0]].row).shares_yes == shares + commits


async def test_what_another_database_said_is_read_anew(database: Database) -> None:
    async with database.service() as connection:
        for _ in range(3):
            await open_position(connection)
    known = await read_again(database, None)
    (first, *_), other = known.by_market, list(known.by_market.values())[-1]
    elsewhere = msgspec.structs.replace(
        known, server="2026-01-01/5", by_market=known.by_market | {first: other}
    )
    assert (await read_again(database, elsewhere)).holdings == known.holdings


async def test_what_a_server_gives_the_ids_of_lost_transactions_to_is_read_again(tmp_path: Path) -> None:
    async with crashing_postgres(tmp_path / "postgres") as server:
        database = server.database
        async with database.service() as connection:
            await open_position(connection)
        while True:
            dying = await server.use_ids()
            known = await read_again(database, None)
            await server.crash(dying)
            if await server.next_id() < known.since:
                break
        async with database.service() as connection:
            await connection.execute("update user_positions set shares_yes = shares_yes + 1")
        await read_again(database, known)
