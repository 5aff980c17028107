"""How far a program's history on the chain has been compared with the index."""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_FIND = "select signature, slot from indexer_cursor where program_id = $1"
_ADVANCE = """
insert into indexer_cursor as cursor (program_id, signature, slot) values ($1, $2, $3)
on conflict (program_id) do update
   set signature = excluded.signature, slot = excluded.slot, updated_at = now()
 where excluded.slot >= cursor.slot
"""
_FORGET = "delete from indexer_cursor where program_id = $1"


class Cursor(Struct, frozen=True):
    """The newest transaction up to which nothing is missing."""

    signature: str
    slot: int


async def find(connection: Reads, program_id: str) -> Cursor | None:
    """Where to go on from; None before the first comparison. Takes a service transaction."""
    row = await connection.fetchrow(_FIND, program_id)
    return None if row is None else Cursor(row["signature"], row["slot"])


async def advance(connection: Connection, program_id: str, cursor: Cursor) -> None:
    """Move the cursor forward; one that is further already stays. Takes a service transaction."""
    await connection.execute(_ADVANCE, program_id, cursor.signature, cursor.slot)


async def forget(connection: Connection, program_id: str) -> None:
    """The next comparison begins at the beginning. Takes a service transaction."""
    await connection.execute(_FORGET, program_id)
