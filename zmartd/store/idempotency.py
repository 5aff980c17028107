"""What requests with an idempotency key were answered, for the same request to be answered the same again."""

from __future__ import annotations

from datetime import timedelta

from asyncpg import Connection
from msgspec import Struct

KEPT = timedelta(hours=24)
"""How long an answer is given again."""
ANSWERED_WITHIN = timedelta(seconds=60)
"""After this a request without an answer counts as dead, and its key is free again."""

_PURGE = """
delete from idempotency_keys where (subject, key) in (
    select subject, key from idempotency_keys where expires_at < now() limit 100 for update skip locked)
"""
_CLAIM = """
insert into idempotency_keys as held (subject, key, request_hash, expires_at)
values ($1, $2, $3, now() + $4)
on conflict (subject, key) do update
   set request_hash = excluded.request_hash, status = null, body = null, location = null,
       created_at = now(), expires_at = excluded.expires_at
 where held.expires_at < now() or (held.status is null and held.created_at < now() - $5::interval)
returning true
"""
_FIND = "select request_hash, status, body, location from idempotency_keys where subject = $1 and key = $2"
_KEEP = """
update idempotency_keys set status = $4, body = $5, location = $6
 where subject = $1 and key = $2 and request_hash = $3 and status is null
"""
_RELEASE = """
delete from idempotency_keys where subject = $1 and key = $2 and request_hash = $3 and status is null
"""


class ClaimedKey(Struct, frozen=True):
    """A key in use by one caller for one request."""

    subject: str
    key: str
    request_hash: bytes


class KeptAnswer(Struct, frozen=True):
    """What an earlier request with the key was, and what it was answered: nothing yet without a `status`."""

    request_hash: bytes
    status: int | None
    body: bytes | None
    location: str | None


async def claim(connection: Connection, claimed: ClaimedKey) -> KeptAnswer | None:
    """Take a key for a request; None when it is taken now, otherwise what it was used for before.

    Takes a service transaction of its own: the key is taken when that is committed.
    """
    await connection.execute(_PURGE)
    taken = await connection.fetchval(
        _CLAIM, claimed.subject, claimed.key, claimed.request_hash, KEPT, ANSWERED_WITHIN
    )
    if taken:
        return None
    row = await connection.fetchrow(_FIND, claimed.subject, claimed.key)
    # Gone in between: whoever had it was not answered, and neither is this one.
    return KeptAnswer(claimed.request_hash, None, None, None) if row is None else KeptAnswer(*row)


async def keep(
    connection: Connection, claimed: ClaimedKey, status: int, body: bytes, location: str | None
) -> None:
    """Remember the answer. Takes a service transaction."""
    await connection.execute(
        _KEEP, claimed.subject, claimed.key, claimed.request_hash, status, body, location
    )


async def release(connection: Connection, claimed: ClaimedKey) -> None:
    """Let the key be used again: nothing was done under it. Takes a service transaction."""
    await connection.execute(_RELEASE, claimed.subject, claimed.key, claimed.request_hash)
