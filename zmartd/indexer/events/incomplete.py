"""Transactions that could not be read in full: undecodable lines in quarantine, and truncated logs."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.rows import utc_from_unix

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
insert into truncated_transactions (tx_signature, slot, index_in_block, block_time, events_read)
select * from unnest($1::text[], $2::bigint[], $3::int[], $4::timestamptz[], $5::int[])
on conflict do nothing
"""
_UNRESOLVED = """
select tx_signature from truncated_transactions
 where resolved_at is null and slot <= $1 order by slot, index_in_block, tx_signature limit $2
"""
_SET_REASON = """
update truncated_transactions
   set reason = $2, resolved_at = case when $2::text is null then now() end
 where tx_signature = $1
"""
_REOPEN = "update truncated_transactions set resolved_at = null where tx_signature = any($1::text[])"


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


async def record_truncated(connection: Connection, transactions: Sequence[ChainTransaction]) -> int:
    """Record the transactions with truncated logs among these. Returns how many there are."""
    truncated = [transaction for transaction in transactions if transaction.logs_truncated]
    if truncated:
        await connection.execute(
            _RECORD_TRUNCATED,
            [tx.signature for tx in truncated],
            [tx.slot for tx in truncated],
            [tx.index_in_block for tx in truncated],
            [None if tx.block_time is None else utc_from_unix(tx.block_time) for tx in truncated],
            [len(tx.events) for tx in truncated],
        )
    return len(truncated)


async def reopen_truncated(connection: Connection, signatures: Sequence[str]) -> None:
    """Mark transactions as unresolved: their events will be inferred again. Takes a service transaction."""
    await connection.execute(_REOPEN, signatures)


async def unresolved_truncated(connection: Connection, until_slot: int, limit: int) -> list[str]:
    """The unresolved truncated transactions up to a slot, oldest first. Takes a service transaction."""
    return [row["tx_signature"] for row in await connection.fetch(_UNRESOLVED, until_slot, limit)]


async def set_truncated_reason(connection: Connection, signature: str, reason: str | None) -> None:
    """Record why a transaction is not resolved; None resolves it. Takes a service transaction."""
    await connection.execute(_SET_REASON, signature, reason)
