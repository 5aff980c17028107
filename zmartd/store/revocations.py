"""Revoked sessions and used nonces: what has to be refused although its signature is valid.

A revocation has a name and a number: what has this name and a number below it is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from asyncpg import Connection

from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads

EVERYTHING: Final = 2**63 - 1
"""The `before` that refuses everything of a name."""

_REVOKE = """
insert into revocations as held (name, before, expires_at) values ($1, $2, $3)
on conflict (name) do update
   set before = excluded.before, expires_at = greatest(held.expires_at, excluded.expires_at)
 where held.before < excluded.before
returning true
"""
_FIND = kept("select name, before from revocations where name = any($1::text[])")  # by the key, however many


async def revoke(connection: Connection, name: str, before: int, expires_at: datetime) -> bool:
    """Refuse what has this name and a number below `before`, at least until `expires_at`.

    False if all of that was refused before; of concurrent calls with the same `before` one returns True.
    Takes a service transaction.
    """
    return bool(await connection.fetchval(_REVOKE, name, before, expires_at))


async def find(connection: Reads, names: Collection[str]) -> dict[str, int]:
    """The `before` of each of `names` that has a revocation. Takes a service reader or transaction."""
    return {row["name"]: row["before"] for row in await connection.fetch(_FIND, list(names))}
