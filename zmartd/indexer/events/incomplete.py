"""Transactions that could not be read in full: undecodable lines in quarantine, and truncated logs.

A delivery can say of any transaction that its logs were truncated, and what it changes. So nothing waits for
a row that is `confirmed`: it is unverified. Of one that is `finalized` the node says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import ZmartdError
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.market.iso_time import utc_from_unix

_QUARANTINE = """
insert into quarantined_events (tx_signature, event_index, slot, index_in_block, block_time, data, reason)
select * from unnest($1::text[], $2::int[], $3::bigint[], $4::int[], $5::timestamptz[], $6::bytea[],
                     $7::text[])
on conflict do nothing
"""
_RESOLVE = """
update quarantined_events as line set resolved_at = now()
  from unnest($1::text[], $2::int[]) as read (tx_signature, event_index)
 where line.tx_signature = read.tx_signature and line.event_index = read.event_index and resolved_at is null
"""
_RECORD_TRUNCATED = """
insert into truncated_transactions as known
       (tx_signature, slot, index_in_block, block_time, events_read, changes, commitment)
select signature, slot, index_in_block, block_time, events_read,
       array(select jsonb_array_elements_text(changes)), $7
  from unnest($1::text[], $2::bigint[], $3::int[], $4::timestamptz[], $5::int[], $6::jsonb[])
       as given (signature, slot, index_in_block, block_time, events_read, changes)
on conflict (tx_signature) do update
   set index_in_block = excluded.index_in_block, block_time = excluded.block_time,
       events_read = excluded.events_read, changes = excluded.changes, commitment = excluded.commitment
 where known.commitment = 'confirmed' and excluded.commitment = 'finalized' and known.slot = excluded.slot
"""
_UNVERIFIED = """
select tx_signature, slot
  from truncated_transactions as known
  join unnest($1::text[], $2::bigint[]) as given (tx_signature, slot) using (tx_signature, slot)
 where commitment = 'confirmed'
"""
_UNVERIFIED_OF = """
select tx_signature from truncated_transactions
 where commitment = 'confirmed' and resolved_at is null and changes @> array[$1::text]
 order by slot desc limit $2
"""
_VERIFY = """
update truncated_transactions as known set commitment = 'finalized'
  from unnest($1::text[], $2::bigint[]) as given (tx_signature, slot)
 where known.tx_signature = given.tx_signature and known.slot = given.slot
"""
_TAKE = """
with chosen as materialized (
    select tx_signature from truncated_transactions
     where resolved_at is null and commitment = 'finalized' and slot <= $1
     order by attempts, slot, index_in_block, tx_signature limit $2),
due as (
    update truncated_transactions set attempts = attempts + 1
     where tx_signature in (select tx_signature from chosen)
    returning tx_signature, slot, index_in_block
)
select tx_signature from due order by slot, index_in_block, tx_signature
"""
_SET_COMPLETE = """
update truncated_transactions
   set reason = null, complete = $2, changes = $3
 where tx_signature = $1
"""
_RESOLVE_TRUNCATED = """
update truncated_transactions set resolved_at = now() where tx_signature = any($1::text[])
"""
_SET_REASON = "update truncated_transactions set reason = $2 where tx_signature = $1"
_REOPEN = """
update truncated_transactions set resolved_at = null, complete = false where tx_signature = any($1::text[])
"""
_CHANGED_UNREAD = """
select distinct address, truncated.slot, market.id as market_id
  from truncated_transactions as truncated
  join unnest($1::text[], $2::bigint[]) as lost (tx_signature, slot) using (tx_signature, slot)
 cross join unnest(truncated.changes) as address
  left join markets as market on market.on_chain_address = address
 where truncated.reason is not null
"""
_REOPEN_ACCEPTED = """
update truncated_transactions as truncated set resolved_at = null
  from unnest($1::text[], $2::timestamptz[]) as gone (account, received_at)
  left join markets as market on market.id = gone.account
 where truncated.resolved_at >= gone.received_at and not truncated.complete and truncated.reason is not null
   and truncated.changes @> array[coalesce(market.on_chain_address, gone.account)::text]
   and not exists (select from market_corrections as made
                    where made.market_id = market.id and made.slot >= truncated.slot)
   and not exists (select from protocol_config_history as made
                    where market.id is null and made.event_type = 'ConfigCorrected'
                      and made.slot >= truncated.slot)
"""
_OPEN = """
select tx_signature as signature, slot, reason, changes from truncated_transactions
 where resolved_at is null and reason is not null order by slot, tx_signature
"""
_IS_INCOMPLETE = """
select exists (
    select from truncated_transactions
     where resolved_at is null and not complete and commitment = 'finalized' and changes @> array[$1::text])
"""
_ACCEPT = """
update truncated_transactions set resolved_at = now()
 where resolved_at is null and reason is not null and slot <= $1 and not changes && $2::text[]
"""


class IndexIncomplete(ZmartdError):
    """Events are missing of transactions with truncated logs: run `zmartd audit --repair`."""

    code = "index_incomplete"


class IncompleteTransaction(Struct, frozen=True):
    """A transaction with truncated logs whose events are not all known, or contradict the accounts.

    `changes` are the addresses of the markets, or of the configuration, that it changes.
    """

    signature: str
    slot: int
    reason: str
    changes: Sequence[str]


class ChangedUnread(Struct, frozen=True):
    """An account that an incomplete transaction changed in a slot; the id of its market, if it is one's."""

    address: str
    slot: int
    market_id: str | None


async def quarantine_lines(connection: Connection, transactions: Sequence[ChainTransaction]) -> int:
    """Keep the undecodable data lines of transactions for a later IDL. Returns how many lines they have."""
    lines = [(transaction, line) for transaction in transactions for line in transaction.quarantined]
    if lines:
        await connection.execute(
            _QUARANTINE,
            [transaction.signature for transaction, _ in lines],
            [line.ordinal for _, line in lines],
            [transaction.slot for transaction, _ in lines],
            [transaction.index_in_block for transaction, _ in lines],
            [None if tx.block_time is None else utc_from_unix(tx.block_time) for tx, _ in lines],
            [line.data for _, line in lines],
            [line.reason for _, line in lines],
        )
    return len(lines)


async def resolve_quarantined(connection: Connection, lines: Sequence[tuple[str, int]]) -> None:
    """Mark lines, given by signature and ordinal, as resolved."""
    await connection.execute(
        _RESOLVE, [signature for signature, _ in lines], [ordinal for _, ordinal in lines]
    )


async def record_truncated(
    connection: Connection, transactions: Sequence[ChainTransaction], commitment: Commitment
) -> int:
    """Record the transactions with truncated logs among these. Returns how many there are.

    What is final takes the place of what is unverified.
    """
    truncated = sorted((tx for tx in transactions if tx.logs_truncated), key=lambda tx: tx.signature)
    if truncated:
        await connection.execute(
            _RECORD_TRUNCATED,
            [tx.signature for tx in truncated],
            [tx.slot for tx in truncated],
            [tx.index_in_block for tx in truncated],
            [None if tx.block_time is None else utc_from_unix(tx.block_time) for tx in truncated],
            [len(tx.events) for tx in truncated],
            [msgspec.json.encode(tx.changes).decode() for tx in truncated],
            commitment,
        )
    return len(truncated)


async def unverified_truncated(
    connection: Connection, listed: Sequence[TransactionInSlot]
) -> list[TransactionInSlot]:
    """Those of these that are truncated by what a delivery says, and by nothing else yet."""
    rows = await connection.fetch(_UNVERIFIED, *_columns(listed))
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]


async def unverified_truncated_of(connection: Connection, address: str, limit: int) -> list[str]:
    """The signatures of the same that change `address`, newest first."""
    return [row["tx_signature"] for row in await connection.fetch(_UNVERIFIED_OF, address, limit)]


async def verify_truncated(connection: Connection, listed: Sequence[TransactionInSlot]) -> None:
    """Mark these as final: the node lists them so, and gives nothing that contradicts their deliveries.

    Takes a service transaction.
    """
    await connection.execute(_VERIFY, *_columns(listed))


async def reopen_truncated(connection: Connection, signatures: Sequence[str]) -> None:
    """Mark transactions as unresolved: their events will be inferred again. Takes a service transaction."""
    await connection.execute(_REOPEN, signatures)


async def take_unresolved(connection: Connection, until_slot: int, limit: int) -> list[str]:
    """Take final truncated transactions up to a slot that are unresolved, and return them oldest first.

    Where there are more than `limit`, those that were tried least often: one that stays unresolved keeps no
    other waiting. Takes a service transaction.
    """
    return [row["tx_signature"] for row in await connection.fetch(_TAKE, until_slot, limit)]


async def set_complete(connection: Connection, transaction: ChainTransaction, *, complete: bool) -> None:
    """Record whether all events of a truncated transaction are known now. Takes a service transaction."""
    await connection.execute(_SET_COMPLETE, transaction.signature, complete, list(transaction.changes))


async def resolve_truncated(connection: Connection, signatures: Sequence[str]) -> None:
    """Record that the accounts equal the events of transactions. Takes a service transaction."""
    await connection.execute(_RESOLVE_TRUNCATED, signatures)


async def set_truncated_reason(connection: Connection, signature: str, reason: str) -> None:
    """Record why events are missing of a transaction, or how accounts contradict them.

    Takes a service transaction.
    """
    await connection.execute(_SET_REASON, signature, reason)


async def incomplete_transactions(connection: Connection) -> list[IncompleteTransaction]:
    """The transactions of which an operator has to know, oldest first. Takes a service transaction."""
    return [IncompleteTransaction(**dict(row)) for row in await connection.fetch(_OPEN)]


async def require_complete(connection: Connection) -> None:
    """Raise IndexIncomplete if there are incomplete transactions. Takes a service transaction."""
    incomplete = await incomplete_transactions(connection)
    if incomplete:
        first = incomplete[0]
        raise IndexIncomplete(
            f"events are missing of {len(incomplete)} transactions, the first of them {first.signature} "
            f"({first.reason}): run `zmartd audit --repair`"
        )


async def is_incomplete(connection: Connection, address: str) -> bool:
    """Whether events are missing of a final transaction that changes `address`.

    Takes a service transaction.
    """
    found: bool = await connection.fetchval(_IS_INCOMPLETE, address)
    return found


async def changed_unread(
    connection: Connection, transactions: Sequence[TransactionInSlot]
) -> list[ChangedUnread]:
    """What these transactions, as far as they are incomplete, changed without events that are known.

    Takes a service transaction.
    """
    rows = await connection.fetch(_CHANGED_UNREAD, *_columns(transactions))
    return [ChangedUnread(**dict(row)) for row in rows]


async def reopen_accepted(connection: Connection, removed: Sequence[tuple[str, datetime]]) -> None:
    """Open incomplete transactions again that were accepted while events were in the index that are removed
    now: with these, the accounts may have shown no difference that there was. What a correction makes up for
    stays.

    `removed` are the ids of the events' markets, or the address of the configuration, and the times when the
    events were recorded. Takes a service transaction.
    """
    if removed:
        await connection.execute(_REOPEN_ACCEPTED, *zip(*removed, strict=True))


async def accept_incomplete(connection: Connection, until_slot: int, differing: Sequence[str]) -> None:
    """Resolve incomplete transactions up to a slot, where the accounts show that nothing is missing any more.

    `differing` are the addresses of which that is not so. Takes a service transaction.
    """
    await connection.execute(_ACCEPT, until_slot, differing)


def _columns(transactions: Sequence[TransactionInSlot]) -> tuple[list[str], list[int]]:
    return [one.signature for one in transactions], [one.slot for one in transactions]
