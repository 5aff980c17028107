"""How far the index has followed a program's history. All of these take a service transaction.

The checkpoint of a program is the newest transaction up to which nothing is missing. A walk through the
history above it runs from the newest page down and leaves a page checkpoint on each, from which it fetches
the pages in the order of the chain, also after a restart.
"""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_FIND = "select signature, slot from indexer_cursor where program_id = $1"
_ADVANCE = """
insert into indexer_cursor as checkpoint (program_id, signature, slot) values ($1, $2, $3)
on conflict (program_id) do update
   set signature = excluded.signature, slot = excluded.slot, updated_at = now()
 where excluded.slot >= checkpoint.slot
"""
_RESET = "delete from indexer_cursor where program_id = $1"
_REMOVE_PASSED = "delete from history_bookmarks where program_id = $1 and slot <= $2"
_PAGES = "select signature, slot from history_bookmarks where program_id = $1 order by slot desc, signature"
_ADD_PAGE = """
insert into history_bookmarks (program_id, signature, slot) values ($1, $2, $3) on conflict do nothing
"""
_REMOVE_PAGE = "delete from history_bookmarks where program_id = $1 and signature = $2"


class Checkpoint(Struct, frozen=True):
    """A transaction in a program's history."""

    signature: str
    slot: int


async def find(connection: Reads, program_id: str) -> Checkpoint | None:
    """The program's checkpoint; None before the first walk."""
    row = await connection.fetchrow(_FIND, program_id)
    return None if row is None else Checkpoint(row["signature"], row["slot"])


async def advance(connection: Connection, program_id: str, checkpoint: Checkpoint) -> None:
    """Move the program's checkpoint to this one, unless it is in a later slot already."""
    await connection.execute(_ADVANCE, program_id, checkpoint.signature, checkpoint.slot)


async def reset(connection: Connection, program_id: str) -> None:
    """Delete the program's checkpoint, so that the next walk covers the whole history."""
    await connection.execute(_RESET, program_id)


async def pages(connection: Connection, program_id: str, above_slot: int) -> list[Checkpoint]:
    """The page checkpoints above this slot, newest first. Those at or below it are deleted."""
    await connection.execute(_REMOVE_PASSED, program_id, above_slot)
    return [Checkpoint(row["signature"], row["slot"]) for row in await connection.fetch(_PAGES, program_id)]


async def add_page(connection: Connection, program_id: str, checkpoint: Checkpoint) -> None:
    """Record a page checkpoint: a finalized transaction below which something may be missing."""
    await connection.execute(_ADD_PAGE, program_id, checkpoint.signature, checkpoint.slot)


async def remove_page(connection: Connection, program_id: str, checkpoint: Checkpoint) -> None:
    """Delete a page checkpoint whose page has been indexed."""
    await connection.execute(_REMOVE_PAGE, program_id, checkpoint.signature)
