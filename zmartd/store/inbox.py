"""Webhook deliveries, kept until they are indexed. All of these take a service transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres import plans
from zmartd.store.postgres.reader import Reads
from zmartd.store.text import storable

_MAX_ERROR_LENGTH = 1_000

_ADD = """
insert into webhook_inbox (body, transactions, request_id)
select * from unnest($1::bytea[], $2::int[], $3::text[])
"""
_TAKE = """
with free as materialized (
    select id, body, transactions, attempts, received_at, request_id from webhook_inbox
     where status = 'pending' and next_attempt_at <= $1
     order by id limit $2
       for update skip locked
), queued as (
    select *, sum(transactions) over (order by id) - transactions as ahead from free
)
select id, body, transactions, attempts, received_at, request_id from queued where ahead < $3 order by id
"""
_FINISH = """
update webhook_inbox set status = 'done', error = null, settled_at = now() where id = any($1::bigint[])
returning greatest(extract(epoch from clock_timestamp() - received_at), 0)::float8
"""
_POSTPONE = """
update webhook_inbox set attempts = attempts + 1, error = $2, next_attempt_at = $3
 where id = $1 and status = 'pending'
"""
_PARK = """
update webhook_inbox
   set attempts = attempts + 1, error = given.reason, unreadable = $3, status = 'parked', settled_at = now()
  from unnest($1::bigint[], $2::text[]) as given (delivery, reason)
 where id = given.delivery and status = 'pending'
"""
_TRIM = """
with ranked as (
    select id,
           row_number() over newer as place,
           sum(octet_length(body)) over newer as bytes
      from webhook_inbox where status = 'parked'
    window newer as (partition by unreadable order by id desc)
), free as materialized (
    select id from webhook_inbox
     where id in (select id from ranked where place > $1 or bytes > $2) and status = 'parked'
       for update skip locked
)
delete from webhook_inbox as gone using free where gone.id = free.id
"""
ENOUGH_TRANSACTIONS = 1_000
"""In the deliveries that are taken together."""
MOST_PARKED = 1_000
"""The most deliveries that are kept parked because they cannot be read, and again as many that cannot be
applied, so that nobody can fill the table. The oldest are deleted first; reconciliation finds what was
genuine in them."""
MOST_PARKED_BYTES = 64 * 1024 * 1024
"""The same for the sum of their bodies."""

_PARKED = """
select id, transactions, attempts, received_at, settled_at as parked_at, error
  from webhook_inbox where status = 'parked' order by id limit $1
"""
_REPLAY = """
update webhook_inbox
   set status = 'pending', attempts = 0, error = null, settled_at = null, next_attempt_at = now()
 where status = 'parked' and id = any($1::bigint[])
returning id
"""
_REPLAY_ALL = """
update webhook_inbox
   set status = 'pending', attempts = 0, error = null, settled_at = null, next_attempt_at = now()
 where status = 'parked'
returning id
"""
_DEPTH = """
select count(*) filter (where status = 'pending') as pending,
       count(*) filter (where status = 'parked') as parked
  from webhook_inbox where status in ('pending', 'parked')
"""


class NewDelivery(Struct, frozen=True):
    """One request body, the number of transactions in it, and the id of the request."""

    body: bytes
    transactions: int
    request_id: str | None = None


class Delivery(Struct, frozen=True):
    """One request body, and the number of transactions in it. `attempts` counts the failed attempts to index
    it."""

    id: int
    body: bytes
    transactions: int
    attempts: int
    received_at: datetime
    request_id: str | None


class ParkedDelivery(Struct, frozen=True):
    """A delivery that could not be indexed, and the last error."""

    id: int
    transactions: int
    attempts: int
    received_at: datetime
    parked_at: datetime
    error: str


class Depth(Struct, frozen=True):
    """The numbers of pending and of parked deliveries."""

    pending: int
    parked: int


async def add(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    """Store deliveries. Durable once the transaction commits."""
    await connection.execute(
        _ADD,
        [one.body for one in deliveries],
        [one.transactions for one in deliveries],
        [one.request_id for one in deliveries],
    )


async def take(
    connection: Connection, now: datetime, limit: int, enough_transactions: int = ENOUGH_TRANSACTIONS
) -> tuple[Delivery, ...]:
    """Lock pending deliveries until the transaction ends, the oldest first. Other daemons skip them.

    At most `limit`, and no more once they have `enough_transactions`.
    """
    rows = await connection.fetch(_TAKE, now, limit, enough_transactions)
    return tuple(Delivery(**dict(row)) for row in rows)


async def finish(connection: Connection, ids: Sequence[int]) -> list[float]:
    """Mark deliveries as indexed. Returns how many seconds ago each was received.

    The transaction's commit does not wait for the disk: should Postgres crash and forget it, they are applied
    again, which changes nothing.
    """
    await connection.execute("set local synchronous_commit = off")
    return [row[0] for row in await connection.fetch(_FINISH, ids)]


async def postpone(connection: Connection, delivery: int, error: str, until: datetime) -> None:
    """Record a failed attempt; the next one is due at `until`."""
    await connection.execute(_POSTPONE, delivery, storable(error, _MAX_ERROR_LENGTH), until)


async def park(connection: Connection, errors: Mapping[int, str], *, unreadable: bool = False) -> None:
    """Record the last failed attempt of deliveries, by their ids. They stay until an operator replays them,
    or newer ones take their place.
    """
    reasons = [storable(error, _MAX_ERROR_LENGTH) for error in errors.values()]
    await connection.execute(_PARK, list(errors), reasons, unreadable)


async def trim_parked(
    connection: Connection, most: int = MOST_PARKED, most_bytes: int = MOST_PARKED_BYTES
) -> int:
    """Delete the oldest parked deliveries beyond the bounds, of each kind. Returns how many.

    All that follows in the transaction is planned anew.
    """
    await connection.execute(plans.ANEW)
    return int((await connection.execute(_TRIM, most, most_bytes)).split()[-1])


async def parked(connection: Reads, limit: int) -> tuple[ParkedDelivery, ...]:
    """Parked deliveries, the oldest first."""
    return tuple(ParkedDelivery(**dict(row)) for row in await connection.fetch(_PARKED, limit))


async def replay(connection: Connection, ids: Sequence[int]) -> tuple[int, ...]:
    """Make parked deliveries pending again; returns the ids of those that were parked."""
    return tuple(row["id"] for row in await connection.fetch(_REPLAY, ids))


async def replay_all(connection: Connection) -> tuple[int, ...]:
    """Make all parked deliveries pending again; returns their ids."""
    return tuple(row["id"] for row in await connection.fetch(_REPLAY_ALL))


async def depth(connection: Reads) -> Depth:
    """How many deliveries are not indexed yet."""
    row = await connection.fetchrow(_DEPTH)
    assert row is not None, "an aggregate always has a row"
    return Depth(row["pending"], row["parked"])
