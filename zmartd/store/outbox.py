"""Signed transactions, kept from before they are sent until their fate is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.errors import DetailedError
from zmartd.store.postgres.reader import Reads

RETRY_AFTER_SECONDS = 5
"""Within this time most transactions are confirmed and no longer count as pending."""

_LOCK_WALLET = "select pg_advisory_xact_lock(hashtextextended('relayed for:' || $1, 9))"
_RECORD = """
insert into outbox_transactions (signature, wire, last_valid_block_height, purpose, relayed_for)
values ($1, $2, $3, $4, $5)
on conflict (signature) do nothing
"""
_RECORD_RELAYED = """
with place as (
    select (select count(*) from outbox_transactions where relayed_for = $5 and status = 'pending') < $6
        or exists (select from outbox_transactions where signature = $1) as is_free
), recorded as (
    insert into outbox_transactions
        (signature, wire, last_valid_block_height, purpose, relayed_for, min_shares)
    select $1, $2, $3, $4, $5, $7 from place where is_free
    on conflict (signature) do nothing
    returning signature
)
select is_free, (select count(*) from recorded) = 1 as is_new from place
"""
_RECORD_FATE = """
update outbox_transactions set status = $2, slot = $3, error = $4, settled_at = now()
 where signature = $1 and status = 'pending'
returning relayed_for
"""
_REOPEN = """
update outbox_transactions set status = 'pending', slot = null, error = null, settled_at = null
 where signature = $1 and slot is not null
returning relayed_for
"""
_PENDING = """
select signature, wire, last_valid_block_height, purpose, relayed_for, min_shares
  from outbox_transactions
 where status = 'pending' and created_at <= now() - make_interval(secs => $1) order by created_at, signature
"""
_FIND = """
select signature, wire, last_valid_block_height, purpose, relayed_for, min_shares, status, slot, error,
       created_at, settled_at as ended_at
  from outbox_transactions where signature = $1
"""
_RELAYED = """
select signature, relayed_for, slot from outbox_transactions
 where signature = any($1::text[]) and relayed_for is not null order by signature
"""
_PENDING_STATUS = "pending"


class PendingTransactionsDetails(Struct, frozen=True):
    """How many transactions of one wallet may be under way."""

    limit: int
    """The most of them."""
    retry_after_seconds: int
    """Seconds to wait, as Retry-After says."""


class TooManyPending(DetailedError[PendingTransactionsDetails]):
    """This wallet has as many transactions under way as it may: send this one again when one has ended."""

    code = "too_many_pending"

    def __init__(self, limit: int) -> None:
        super().__init__(PendingTransactionsDetails(limit, RETRY_AFTER_SECONDS))


class OutboxEntry(Struct, frozen=True):
    """A transaction in the outbox. `fate` and `ended_at` are None while it is pending."""

    transaction: SignedTransaction
    fate: Fate | None
    slot: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class RelayedTransaction(Struct, frozen=True):
    """A transaction that was relayed for a wallet. `slot` is that of its block, if it is known."""

    signature: str
    wallet: str
    slot: int | None


async def record(connection: Connection, transaction: SignedTransaction, max_pending: int) -> bool:
    """Record a transaction that is pending; whether it is new. Takes a service transaction of its own.

    Raises TooManyPending when the wallet that it is relayed for has `max_pending` pending ones.
    """
    values = (
        transaction.signature,
        transaction.wire,
        transaction.last_valid_block_height,
        transaction.purpose,
        transaction.relayed_for,
    )
    if transaction.relayed_for is None:
        done: str = await connection.execute(_RECORD, *values)
        return done.endswith(" 1")
    # A statement of its own: the next one must see what the last holder of the lock wrote.
    await connection.execute(_LOCK_WALLET, transaction.relayed_for)
    row = await connection.fetchrow(_RECORD_RELAYED, *values, max_pending, transaction.min_shares)
    assert row is not None, "it selects one row"
    if not row["is_free"]:
        raise TooManyPending(max_pending)
    is_new: bool = row["is_new"]
    return is_new


async def record_fate(
    connection: Connection, signature: str, fate: Fate, slot: int | None, error: str | None
) -> str | None:
    """Record how a pending transaction ended. Returns the wallet that it was relayed for, if any.

    Takes a service transaction.
    """
    wallet: str | None = await connection.fetchval(_RECORD_FATE, signature, fate.value, slot, error)
    return wallet


async def pending(connection: Reads, older_than_seconds: float = 0.0) -> list[SignedTransaction]:
    """The transactions whose fate is not known and that were recorded so long ago, oldest first."""
    rows = await connection.fetch(_PENDING, older_than_seconds)
    return [SignedTransaction(**dict(row)) for row in rows]


async def relayed(connection: Connection, signatures: Sequence[str]) -> list[RelayedTransaction]:
    """Those of these transactions that were relayed for a wallet. Takes a service transaction."""
    rows = await connection.fetch(_RELAYED, signatures)
    return [RelayedTransaction(row["signature"], row["relayed_for"], row["slot"]) for row in rows]


async def find(connection: Reads, signature: str) -> OutboxEntry | None:
    """A transaction that this daemon or another one has sent."""
    row = await connection.fetchrow(_FIND, signature)
    if row is None:
        return None
    return OutboxEntry(
        transaction=SignedTransaction(
            row["signature"],
            row["wire"],
            row["last_valid_block_height"],
            row["purpose"],
            row["relayed_for"],
            row["min_shares"],
        ),
        fate=None if row["status"] == _PENDING_STATUS else Fate(row["status"]),
        slot=row["slot"],
        error=row["error"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )


async def reopen(connection: Connection, signature: str) -> str | None:
    """Make a transaction pending again that was in a block.

    Returns the wallet that it is relayed for, if any. Takes a service transaction.
    """
    wallet: str | None = await connection.fetchval(_REOPEN, signature)
    return wallet
