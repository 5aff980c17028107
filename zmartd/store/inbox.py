"""Webhook deliveries, as they came, until the index has them. All of these take a service transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_ADD = """
insert into webhook_inbox (body, transactions)
select * from unnest($1::bytea[], $2::int[])
"""
_TAKE = """
with free as materialized (
    select id, transactions from webhook_inbox
     where status = 'pending' and next_attempt_at <= $1
     order by id limit $2
       for update skip locked
), queued as (
    select id, sum(transactions) over (order by id) - transactions as ahead from free
)
select id, body, attempts, received_at
  from webhook_inbox join queued using (id)
 where ahead < $3
 order by id
"""
_FINISH = (
    "update webhook_inbox set status = 'done', error = null, settled_at = now() where id = any($1::bigint[])"
)
_POSTPONE = """
update webhook_inbox set attempts = attempts + 1, error = $2, next_attempt_at = $3
 where id = $1 and status = 'pending'
"""
_PARK = """
update webhook_inbox set attempts = attempts + 1, error = $2, status = 'parked', settled_at = now()
 where id = $1 and status = 'pending'
"""
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
_PURGE = """
delete from webhook_inbox where id in (
    select id from webhook_inbox where status = 'done' and settled_at < $1
     order by settled_at limit 1000 for update skip locked)
"""


class Delivery(Struct, frozen=True):
    """One request body. `attempts` counts the times that applying it has failed."""

    id: int
    body: bytes
    attempts: int
    received_at: datetime


class ParkedDelivery(Struct, frozen=True):
    """A delivery that was given up, and why."""

    id: int
    transactions: int
    attempts: int
    received_at: datetime
    parked_at: datetime
    error: str


class Depth(Struct, frozen=True):
    """How many deliveries wait, and how many were given up."""

    pending: int
    parked: int


async def add(connection: Connection, deliveries: Sequence[tuple[bytes, int]]) -> None:
    """Keep bodies, each with the number of transactions in it. Durable once the transaction commits."""
    bodies = [body for body, _ in deliveries]
    await connection.execute(_ADD, bodies, [transactions for _, transactions in deliveries])


async def take(
    connection: Connection, now: datetime, limit: int, enough_transactions: int = 1_000
) -> tuple[Delivery, ...]:
    """Waiting deliveries, the oldest first, locked until the transaction ends: other daemons skip them.

    At most `limit`, and no more once there are `enough_transactions` in them.
    """
    rows = await connection.fetch(_TAKE, now, limit, enough_transactions)
    return tuple(Delivery(**dict(row)) for row in rows)


async def finish(connection: Connection, ids: Sequence[int]) -> None:
    """These deliveries are in the index."""
    await connection.execute(_FINISH, ids)


async def postpone(connection: Connection, delivery: int, error: str, until: datetime) -> None:
    """Applying this one failed; try again later."""
    await connection.execute(_POSTPONE, delivery, error, until)


async def park(connection: Connection, delivery: int, error: str) -> None:
    """Applying this one failed too often; keep it for somebody to look at."""
    await connection.execute(_PARK, delivery, error)


async def parked(connection: Reads, limit: int) -> tuple[ParkedDelivery, ...]:
    """What was given up, oldest first."""
    return tuple(ParkedDelivery(**dict(row)) for row in await connection.fetch(_PARKED, limit))


async def replay(connection: Connection, ids: Sequence[int]) -> tuple[int, ...]:
    """Put parked deliveries back in the queue; returns the ids of those that were parked."""
    return tuple(row["id"] for row in await connection.fetch(_REPLAY, ids))


async def replay_all(connection: Connection) -> tuple[int, ...]:
    """Put every parked delivery back in the queue; returns their ids."""
    return tuple(row["id"] for row in await connection.fetch(_REPLAY_ALL))


async def depth(connection: Reads) -> Depth:
    """How the queue stands."""
    row = await connection.fetchrow(_DEPTH)
    assert row is not None, "an aggregate always has a row"
    return Depth(row["pending"], row["parked"])


async def purge(connection: Connection, settled_before: datetime) -> None:
    """Forget up to a thousand deliveries that have been in the index since before that time."""
    await connection.execute(_PURGE, settled_before)
