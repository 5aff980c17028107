from __future__ import annotations

import pytest

from tests.integration.store.rows import insert_market, insert_position, wallet
from zmartd.clock import SystemClock
from zmartd.http.trading import position_memory
from zmartd.http.trading.position_memory import LEAST, PositionMemory
from zmartd.store.postgres.database import Database

ALICE, BOB = wallet("alice"), wallet("bob")


async def hold(database: Database, holder: str, markets: list[str]) -> None:
    async with database.service() as connection:
        for market in markets:
            await insert_position(connection, market, holder)


async def make_markets(database: Database) -> list[str]:
    async with database.service() as connection:
        return [await insert_market(connection, str(number)) for number in range(LEAST)]


async def test_each_wallet_is_told_of_its_own_positions_as_they_are_now(database: Database) -> None:
    markets = await make_markets(database)
    await hold(database, ALICE, markets)
    await hold(database, BOB, markets[:3])
    memory = PositionMemory(SystemClock())
    for shares in (1, 2):
        async with database.service() as connection:
            await connection.execute(
                "update user_positions set shares_no = $1 where market_id = $2", shares, markets[0]
            )
        for holder, held in ((ALICE, LEAST), (BOB, 3)):
            found = {one.market.id: one for one in (await memory.read(database, holder)).positions}
            assert {one.user_wallet for one in found.values()} == {holder}
            assert (len(found), found[markets[0]].shares_no) == (held, shares)


async def test_no_more_is_known_than_has_room(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position_memory, "KEPT", LEAST)
    markets = await make_markets(database)
    memory = PositionMemory(SystemClock())
    for holder in (ALICE, BOB):
        await hold(database, holder, markets)
        for _ in range(2):
            assert len((await memory.read(database, holder)).rows) == LEAST
        assert list(memory._entries) == [holder]


async def test_who_has_more_positions_than_there_is_room_for_drives_nobody_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position_memory, "KEPT", LEAST)
    markets = await make_markets(database)
    async with database.service() as connection:
        markets.append(await insert_market(connection, "one more"))
    memory = PositionMemory(SystemClock())
    await hold(database, ALICE, markets[:LEAST])
    await hold(database, BOB, markets)
    for holder in (ALICE, BOB, BOB):
        await memory.read(database, holder)
    assert list(memory._entries) == [ALICE]
