from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from tests.integration.store.expiry import delete_expired
from tests.integration.store.rows import NOON
from zmartd.store import revocations
from zmartd.store.postgres.database import Database
from zmartd.store.revocations import EVERYTHING

HOUR = timedelta(hours=1)


async def revoke(database: Database, name: str, before: int, expires_at: datetime = NOON + HOUR) -> bool:
    async with database.service() as connection:
        return await revocations.revoke(connection, name, before, expires_at)


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


async def test_a_revocation_is_forgotten_a_day_after_it_has_expired(database: Database) -> None:
    async with database.service_reader() as connection:
        now = await connection.fetchval("select now()")
    await revoke(database, "old", 1, expires_at=now - timedelta(hours=25))
    await revoke(database, "renewed", 1, expires_at=now - timedelta(hours=25))
    await revoke(database, "renewed", 2, expires_at=now - timedelta(hours=23))
    await revoke(database, "renewed", 3, expires_at=now - timedelta(hours=30))
    assert await delete_expired(database, "revocations") == 1
    assert await find(database, "old", "renewed") == {"renewed": 3}
