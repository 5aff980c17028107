"""Transactions on the chain that could not be read or applied. All of these take a service transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads
from zmartd.store.text import storable

Reason = Literal["refused", "unreadable", "withheld", "failed"]
"""`refused`: the node gives others and not this one. `unreadable`: what it gives is no transaction that
zmartd knows. `withheld`: the node lists it and has nothing of it. `failed`: it could be read and not be
applied.
"""

MAX_DETAIL_LENGTH = 500

_PAUSES_SECONDS = (60, 300, 1_800, 7_200, 21_600)
"""Before the next attempt, by the number of attempts so far. The last one repeats."""

_ADD = """
insert into parked_transactions as parked (tx_signature, slot, reason, detail, next_attempt_at)
select given.*, now() + make_interval(secs => $5)
  from unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as given (tx_signature, slot, reason, detail)
on conflict (tx_signature) do update
   set slot = excluded.slot, reason = excluded.reason, detail = excluded.detail
returning tx_signature, xmax = 0 as is_new
"""
_DUE = """
select tx_signature, slot from parked_transactions
 where next_attempt_at <= now() order by next_attempt_at, tx_signature limit $1
"""
_ALL_SLOTS = "select tx_signature, slot from parked_transactions order by slot, tx_signature"
_SLOTS = """
select tx_signature, slot from parked_transactions
 where tx_signature = any($1::text[]) order by slot, tx_signature
"""
_POSTPONE = """
update parked_transactions
   set attempts = attempts + 1,
       next_attempt_at = now() + make_interval(
           secs => ($2::int[])[least(attempts + 2, array_length($2::int[], 1))])
 where tx_signature = any($1::text[])
"""
_REMOVE = "delete from parked_transactions where tx_signature = any($1::text[])"
_COUNTS = "select reason, count(*) as number from parked_transactions group by reason order by reason"
_LISTED = """
select tx_signature as signature, slot, reason, detail, attempts, parked_at, next_attempt_at
  from parked_transactions order by slot, tx_signature limit $1
"""


class Unapplied(Struct, frozen=True, order=True):
    """A transaction in its slot, and why it cannot be applied."""

    signature: str
    slot: int
    reason: Reason
    detail: str


class ParkedTransaction(Struct, frozen=True):
    signature: str
    slot: int
    reason: Reason
    detail: str
    attempts: int
    """How often it was tried again."""
    parked_at: datetime
    next_attempt_at: datetime


async def add(connection: Connection, unapplied: Sequence[Unapplied]) -> set[str]:
    """Park transactions, or note why those that are parked still cannot be applied. Returns the new
    signatures."""
    order = sorted({one.signature: one for one in unapplied}.values())
    rows = await connection.fetch(
        _ADD,
        [one.signature for one in order],
        [one.slot for one in order],
        [one.reason for one in order],
        [storable(one.detail, MAX_DETAIL_LENGTH) for one in order],
        _PAUSES_SECONDS[0],
    )
    return {row["tx_signature"] for row in rows if row["is_new"]}


async def due(connection: Reads, limit: int) -> dict[str, int]:
    """The signatures and slots of those whose next attempt is due, the longest overdue first."""
    return {row["tx_signature"]: row["slot"] for row in await connection.fetch(_DUE, limit)}


async def slots(connection: Reads, signatures: Sequence[str] | None = None) -> dict[str, int]:
    """Those of these signatures that are parked, or all that are, with their slots; the oldest first."""
    statement, arguments = (_ALL_SLOTS, ()) if signatures is None else (_SLOTS, (signatures,))
    return {row["tx_signature"]: row["slot"] for row in await connection.fetch(statement, *arguments)}


async def postpone(connection: Connection, signatures: Sequence[str]) -> None:
    """Count an attempt that failed. The next one is due after a longer pause."""
    await connection.execute(_POSTPONE, sorted(signatures), list(_PAUSES_SECONDS))


async def remove(connection: Connection, signatures: Sequence[str]) -> None:
    """Delete what is applied, or has left the chain."""
    await connection.execute(_REMOVE, sorted(signatures))


async def counts(connection: Reads) -> dict[Reason, int]:
    """How many are parked, by reason."""
    return {row["reason"]: row["number"] for row in await connection.fetch(_COUNTS)}


async def listed(connection: Reads, limit: int) -> tuple[ParkedTransaction, ...]:
    """What is parked, the oldest first."""
    return tuple(ParkedTransaction(**dict(row)) for row in await connection.fetch(_LISTED, limit))
