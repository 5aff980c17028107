"""Removes event rows. A copy of each stays in `orphaned_events`, the audit trail of what was once indexed."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection, Record

from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import EVENT_TABLES, for_each_table

_DELETE_EVENTS = """
{table}_removed as (
    delete from {table} as gone using given
     where gone.tx_signature = given.tx_signature and gone.event_index = given.event_index returning gone.*
)"""
_DELETE_TRANSACTIONS = """
{table}_removed as (
    delete from {table} as gone using given
     where gone.tx_signature = given.tx_signature and gone.slot = given.slot returning gone.*
)"""
_REMOVED = "select '{table}' as source, {table}_removed.* from {table}_removed"
_COPIED = "insert into orphaned_events (source, tx_signature, event_index, slot, market_id, content)"
_EVENTS = "select source, tx_signature, event_index, slot, market_id, to_jsonb(event) - 'source' from event"
_LINES = """
select 'quarantined_events', tx_signature, event_index, slot, null, to_jsonb(line)
  from quarantined_events_removed as line
"""
_TRUNCATED = """
select 'truncated_transactions', tx_signature, 0, slot, null, to_jsonb(truncated)
  from truncated_transactions_removed as truncated
"""

_REMOVE_EVENTS = f"""
with given as (select * from unnest($1::text[], $2::int[]) as given (tx_signature, event_index)),
{for_each_table(_DELETE_EVENTS)},
event as ({for_each_table(_REMOVED, " union all ")}),
copied as ({_COPIED} {_EVENTS})
select * from event
"""  # noqa: S608 - constants
_UNREADABLE = ("quarantined_events", "truncated_transactions")
_REMOVE_TRANSACTIONS = f"""
with given as (select * from unnest($1::text[], $2::bigint[]) as given (tx_signature, slot)),
{for_each_table(_DELETE_TRANSACTIONS, tables=(*EVENT_TABLES, *_UNREADABLE))},
event as ({for_each_table(_REMOVED, " union all ")}),
copied as ({_COPIED} {_EVENTS} union all {_LINES} union all {_TRUNCATED})
select * from event
"""  # noqa: S608 - constants


async def remove_events(connection: Connection, keys: Sequence[tuple[str, int]]) -> list[Record]:
    """Remove events by signature and ordinal, from each table that has them. Returns the rows as in
    `program_events`. Takes a service transaction."""
    signatures, ordinals = [key[0] for key in keys], [key[1] for key in keys]
    return list(await connection.fetch(_REMOVE_EVENTS, signatures, ordinals))


async def remove_transactions(
    connection: Connection, transactions: Sequence[TransactionInSlot]
) -> list[Record]:
    """Remove all that is indexed of transactions in these slots, what could not be read included.

    Returns the rows of their events as in `program_events`. Takes a service transaction.
    """
    order = sorted(transactions)
    signatures, slots = [one.signature for one in order], [one.slot for one in order]
    return list(await connection.fetch(_REMOVE_TRANSACTIONS, signatures, slots))
