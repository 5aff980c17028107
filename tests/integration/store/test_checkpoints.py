from __future__ import annotations

from tests.integration.store.rows import signature, wallet
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.postgres.database import Database

PROGRAM = wallet("program")


async def test_the_checkpoint_only_moves_forward(database: Database) -> None:
    async with database.service() as connection:
        assert await checkpoints.find(connection, PROGRAM) is None
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("b"), 200))
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("a"), 100))
        assert await checkpoints.find(connection, PROGRAM) == Checkpoint(signature("b"), 200)
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("c"), 200))
        assert await checkpoints.find(connection, PROGRAM) == Checkpoint(signature("c"), 200)
