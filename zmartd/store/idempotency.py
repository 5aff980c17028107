"""Answers to requests with an idempotency key, kept so that a repeated request gets the same answer.

A key is claimed while its request is being answered. Then it holds the answer, or is open: the same request
may claim it again, and no other. Who claims it later takes it from whoever claimed it before. All of these
take a service transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from asyncpg import Connection
from msgspec import Struct

KEPT = timedelta(hours=24)
"""How long an answer is kept."""
ANSWERED_WITHIN = timedelta(seconds=60)
"""A request without an answer after this time is taken for lost, and may claim its key again."""

_CLAIM = """
insert into idempotency_keys as held (subject, key, request_hash, expires_at)
values ($1, $2, $3, now() + $4)
on conflict (subject, key) do update
   set request_hash = excluded.request_hash, status = null, body = null, location = null,
       created_at = now(), expires_at = excluded.expires_at
 where held.expires_at < now()
    or (held.request_hash = excluded.request_hash and held.status is null
        and held.created_at < now() - $5::interval)
returning created_at
"""
_FIND = "select request_hash, status, body, location from idempotency_keys where subject = $1 and key = $2"
_CLAIM_AGAIN = """
update idempotency_keys
   set status = null, body = null, location = null, created_at = now(), expires_at = now() + $5
 where subject = $1 and key = $2 and request_hash = $3 and body = $4
returning created_at
"""
_KEEP = """
update idempotency_keys set status = $4, body = $5, location = $6
 where subject = $1 and key = $2 and created_at = $3 and status is null
returning true
"""
_OPEN = """
update idempotency_keys set created_at = '-infinity'
 where subject = $1 and key = $2 and created_at = $3 and status is null
"""
_RELEASE = """
delete from idempotency_keys where subject = $1 and key = $2 and created_at = $3 and status is null
"""


class UsedKey(Struct, frozen=True):
    """An idempotency key of one caller, and the hash of the request that uses it."""

    subject: str
    key: str
    request_hash: bytes


class Claim(Struct, frozen=True):
    """What a request has while it is being answered, unless a later claim has taken it."""

    used: UsedKey
    at: datetime


class KeptAnswer(Struct, frozen=True):
    """The hash of the request that used the key first, and its answer; `status` is None while it has none."""

    request_hash: bytes
    status: int | None
    body: bytes | None
    location: str | None


async def claim(connection: Connection, used: UsedKey) -> Claim | KeptAnswer:
    """Claim a key for a request, if it is free or open; otherwise what it was used for.

    Takes a transaction of its own: the claim holds when that is committed.
    """
    at = await connection.fetchval(_CLAIM, used.subject, used.key, used.request_hash, KEPT, ANSWERED_WITHIN)
    if at is not None:
        return Claim(used, at)
    row = await connection.fetchrow(_FIND, used.subject, used.key)
    # Released in between: the other request got no answer, and this one gets none either.
    return KeptAnswer(used.request_hash, None, None, None) if row is None else KeptAnswer(*row)


async def claim_again(connection: Connection, used: UsedKey, void: bytes) -> Claim | None:
    """Claim the key whose answer, `void`, does not count any more. None if somebody else has."""
    at = await connection.fetchval(_CLAIM_AGAIN, used.subject, used.key, used.request_hash, void, KEPT)
    return None if at is None else Claim(used, at)


async def keep(connection: Connection, claim: Claim, status: int, body: bytes, location: str | None) -> bool:
    """Store the answer. False if there is one, or a later claim.

    Until the transaction has ended nobody else can claim the key.
    """
    return bool(await connection.fetchval(_KEEP, *_key_of(claim), status, body, location))


async def leave_open(connection: Connection, claim: Claim) -> None:
    """Let the same request claim the key again at once, unless it has an answer."""
    await connection.execute(_OPEN, *_key_of(claim))


async def release(connection: Connection, claim: Claim) -> None:
    """Free the key of a request that was not tried."""
    await connection.execute(_RELEASE, *_key_of(claim))


def _key_of(claim: Claim) -> tuple[str, str, datetime]:
    return claim.used.subject, claim.used.key, claim.at
