"""Delivered transactions that a node has yet to confirm. All of these take a service transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres import plans
from zmartd.store.postgres.reader import Reads
from zmartd.store.text import storable

_MAX_DOUBT_LENGTH = 500

MOST = 1_000
"""The most rows that are kept of what is implausible, and again as many of what cannot be read, so that
nobody can fill the table. Given-up ones are deleted first, then the oldest; reconciliation finds the genuine
ones among them in the program's history."""

_ADD = """
insert into unverified_transactions (tx_signature, slot, doubt, unreadable)
select * from unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[])
on conflict do nothing
"""
_TRIM = """
with ranked as (
    select id,
           row_number() over (partition by unreadable order by given_up_at is null desc, id desc) as place
      from unverified_transactions
), free as materialized (
    select id from unverified_transactions where id in (select id from ranked where place > $1)
       for update skip locked
)
delete from unverified_transactions as gone using free where gone.id = free.id
"""
_OPEN = """
select tx_signature from unverified_transactions where given_up_at is null order by attempts, id limit $1
"""
_CLOSE = "delete from unverified_transactions where tx_signature = any($1::text[])"
_MISS = """
update unverified_transactions
   set attempts = attempts + 1,
       given_up_at = case when attempts + 1 >= $2 then now() end,
       reason = case when attempts + 1 >= $2 then $3 end
 where tx_signature = any($1::text[]) and given_up_at is null
returning given_up_at is not null as given_up
"""
_ALL = """
select tx_signature as signature, slot, doubt, received_at, attempts, given_up_at, reason
  from unverified_transactions order by id limit $1
"""


class Claim(Struct, frozen=True, order=True):
    """A delivered transaction with the slot that the delivery gives, and why it is not applied: it is
    implausible, or cannot be read.
    """

    signature: str
    slot: int
    doubt: str
    unreadable: bool = False


class UnverifiedTransaction(Struct, frozen=True):
    """A delivered transaction. `doubt` is why it was not applied, `reason` why it was given up."""

    signature: str
    slot: int
    doubt: str
    received_at: datetime
    attempts: int
    given_up_at: datetime | None
    reason: str | None


async def add(connection: Connection, claims: Sequence[Claim]) -> int:
    """Add claims; returns how many rows were deleted.

    `claims` must be sorted, so that two daemons that add the same ones cannot deadlock. All that follows in
    the transaction is planned anew.
    """
    await connection.execute(
        _ADD,
        [claim.signature for claim in claims],
        [claim.slot for claim in claims],
        [storable(claim.doubt, _MAX_DOUBT_LENGTH) for claim in claims],
        [claim.unreadable for claim in claims],
    )
    await connection.execute(plans.ANEW)
    return int((await connection.execute(_TRIM, MOST)).split()[-1])


async def waiting(connection: Reads, limit: int) -> list[str]:
    """Signatures to ask the node for: those with the fewest attempts first, then the oldest."""
    return [row["tx_signature"] for row in await connection.fetch(_OPEN, limit)]


async def remove(connection: Connection, signatures: Sequence[str]) -> None:
    """Delete transactions that need no more verification."""
    await connection.execute(_CLOSE, signatures)


async def record_misses(
    connection: Connection, signatures: Sequence[str], most_attempts: int, reason: str
) -> int:
    """Record that the node does not know these; returns how many are given up with that."""
    missed = await connection.fetch(_MISS, signatures, most_attempts, reason)
    return sum(row["given_up"] for row in missed)


async def listed(connection: Reads, limit: int) -> tuple[UnverifiedTransaction, ...]:
    """All of them, the oldest first."""
    return tuple(UnverifiedTransaction(**dict(row)) for row in await connection.fetch(_ALL, limit))
