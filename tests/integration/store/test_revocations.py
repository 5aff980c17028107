from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from tests.integration.store.rows import NOON
from zmartd.store import revocations
from zmartd.store.postgres.database import Database
from zmartd.store.revocations import EVERYTHING

HOUR = timedelta(hours=1)


async def revoke(
    database: Database, name: str, before: int, now: datetime = NOON, expires_at: datetime = NOON + HOUR
) -> bool:
    async with database.service() as connection:
        return await revocations.revoke(connection, name, before, now, expires_at)


async def find(database: Database, *names: str) -> dict[str, int]:
    async with database.service_reader() as connection:
        return await revocations.find(connection, names)


async def test_what_is_refused_only_grows(database: Database) -> None:
    assert await find(database, "a", "b") == {}
    assert await revoke(database, "a", 2)
    assert not await revoke(database, "a", 2)
    assert not await revoke(database, "a", 1)
    assert await revoke(database, "b", EVERYTHING)
    assert not await revoke(database, "b", 3)
    assert await find(database, "a", "b", "c") == {"a": 2, "b": EVERYTHING}
    assert await find(database, "c") == {}


async def test_of_revocations_at_once_one_is_the_first(database: Database) -> None:
    assert sum(await asyncio.gather(*(revoke(database, "a", 1) for _ in range(5)))) == 1


async def test_a_revocation_is_forgotten_by_the_next_after_it_has_expired(database: Database) -> None:
    await revoke(database, "old", 1)
    await revoke(database, "renewed", 1)
    await revoke(database, "renewed", 2, expires_at=NOON + 3 * HOUR)
    await revoke(database, "renewed", 3, expires_at=NOON + 2 * HOUR)
    await revoke(database, "new", 1, now=NOON + HOUR, expires_at=NOON + 2 * HOUR)
    assert await find(database, "old", "renewed") == {"old": 1, "renewed": 3}
    await revoke(database, "new", 2, now=NOON + 2 * HOUR, expires_at=NOON + 3 * HOUR)
    assert await find(database, "old", "renewed") == {"renewed": 3}


async def test_however_many_have_expired_a_call_deletes_a_hundred(database: Database) -> None:
    async with database.service() as connection:
        await connection.execute(
            "insert into revocations select 'old ' || i, 1, $1 from generate_series(1, 250) as i", NOON
        )
    for left in (150, 50, 0):
        await revoke(database, "new", EVERYTHING, now=NOON + HOUR)
        async with database.service() as connection:
            assert await connection.fetchval("select count(*) from revocations where name <> 'new'") == left
