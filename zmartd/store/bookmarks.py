"""Places in a program's history that a walk has passed on its way down, and has yet to work off."""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

_OVERTAKEN = "delete from history_bookmarks where program_id = $1 and slot <= $2"
_ALL = "select signature, slot from history_bookmarks where program_id = $1 order by slot desc, signature"
_PUT = """
insert into history_bookmarks (program_id, signature, slot) values ($1, $2, $3) on conflict do nothing
"""
_DROP = "delete from history_bookmarks where program_id = $1 and signature = $2"


class Bookmark(Struct, frozen=True):
    """A finalized transaction below which something may be missing."""

    signature: str
    slot: int


async def pending(connection: Connection, program_id: str, reached_slot: int) -> list[Bookmark]:
    """The bookmarks above `reached_slot`, newest first; others are of no use any more, and go.

    Takes a service transaction.
    """
    await connection.execute(_OVERTAKEN, program_id, reached_slot)
    return [Bookmark(row["signature"], row["slot"]) for row in await connection.fetch(_ALL, program_id)]


async def put(connection: Connection, program_id: str, bookmark: Bookmark) -> None:
    """Remember a place. Takes a service transaction."""
    await connection.execute(_PUT, program_id, bookmark.signature, bookmark.slot)


async def drop(connection: Connection, program_id: str, bookmark: Bookmark) -> None:
    """Forget a place. Takes a service transaction."""
    await connection.execute(_DROP, program_id, bookmark.signature)
