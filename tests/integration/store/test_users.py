from __future__ import annotations

from tests.integration.store.rows import wallet
from zmartd.store import users
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller


async def test_signing_in_again_keeps_the_profile(database: Database) -> None:
    alice = wallet("alice")
    async with database.caller(Caller(alice)) as connection:
        first = await users.sign_in(connection, alice)
        await connection.execute("update users set display_name = 'Alice'")
    async with database.caller(Caller(alice)) as connection:
        again = await users.sign_in(connection, alice)
        await users.touch(connection, alice)
        assert await users.find(connection, alice) == again

    assert (first.display_name, again.display_name) == (None, "Alice")
    assert again.created_at == first.created_at
    assert again.last_seen_at > first.last_seen_at
