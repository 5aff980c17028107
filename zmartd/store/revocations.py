"""Sessions that were signed out or renewed, and nonces that were used: what a signature alone cannot tell.

A revocation says of a name: what goes by it and is numbered below `before` is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from asyncpg import Connection

from zmartd.store.postgres.reader import Reads

EVERYTHING: Final = 2**63 - 1
"""The `before` of a name by which nothing is good any more."""

_PURGE = """
delete from revocations where name in (
    select name from revocations where expires_at < $1 limit 100 for update skip locked)
"""
_REVOKE = """
insert into revocations as held (name, before, expires_at) values ($1, $2, $3)
on conflict (name) do update
   set before = excluded.before, expires_at = greatest(held.expires_at, excluded.expires_at)
 where held.before < excluded.before
returning true
"""
_FIND = "select name, before from revocations where name = any($1::text[])"


async def revoke(connection: Connection, name: str, before: int, now: datetime, expires_at: datetime) -> bool:
    """Refuse what goes by `name` and is numbered below `before`, at least until `expires_at`.

    False: all of that was refused already. Of calls at once with the same `before` one gives True. Each call
    also deletes up to 100 revocations that have expired by `now`. Takes a service transaction.
    """
    revoked = await connection.fetchval(_REVOKE, name, before, expires_at)
    await connection.execute(_PURGE, now)  # it waits for no lock, so calls cannot wait for each other
    return bool(revoked)


async def find(connection: Reads, names: Collection[str]) -> dict[str, int]:
    """The `before` of each of `names` that has a revocation. Takes a service reader or transaction."""
    return {row["name"]: row["before"] for row in await connection.fetch(_FIND, list(names))}
