"""Writes event rows, each once, and finds what is indexed of transactions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.payloads import payload_json
from zmartd.indexer.events.rows import EventRow, for_each_table

_INSERT = """
{table}_new as (
    insert into {table} (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                         market_id, actor, payload, commitment)
    select event_type, tx_signature, event_index, slot, index_in_block, block_time,
           market_id, actor, payload, $11
      from given where event_table = '{table}'
    on conflict do nothing returning tx_signature, event_index
)"""
_GIVEN = """
with given as (
    select *
      from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::int[], $7::timestamptz[],
                  $8::text[], $9::text[], $10::jsonb[])
        as given (event_table, event_type, tx_signature, event_index, slot, index_in_block, block_time,
                  market_id, actor, payload)
), """
_KNOWN = """
select tx_signature from program_events where tx_signature = any($1::text[])
union select tx_signature from eventless_transactions where tx_signature = any($1::text[])
"""
_RECORD_EVENTLESS = """
insert into eventless_transactions (tx_signature, slot)
select * from unnest($1::text[], $2::bigint[])
on conflict do nothing
"""
_SLOTS = """
select tx_signature, slot from program_events where tx_signature = any($1::text[])
union select tx_signature, slot from quarantined_events where tx_signature = any($1::text[])
union select tx_signature, slot from truncated_transactions where tx_signature = any($1::text[])
"""


class TransactionInSlot(Struct, frozen=True, order=True):
    """A transaction of which the index has something in this slot."""

    slot: int
    signature: str


async def record_events(
    connection: Connection, rows: Sequence[EventRow], market_ids: Sequence[str | None], commitment: str
) -> set[tuple[str, int]]:
    """Write the rows that are not there yet and return their keys. `market_ids` has one entry for each row.

    Takes the rows sorted by key, so that two daemons that record the same events lock them in the same order.
    """
    tables = [row.table for row in rows]
    if not tables:
        return set()
    new = await connection.fetch(
        _record(frozenset(tables)),
        tables,
        [row.event_type for row in rows],
        [row.signature for row in rows],
        [row.ordinal for row in rows],
        [row.slot for row in rows],
        [row.index_in_block for row in rows],
        [row.block_time for row in rows],
        list(market_ids),
        [row.actor for row in rows],
        [payload_json(row.event, row.context) for row in rows],
        commitment,
    )
    return {(record["tx_signature"], record["event_index"]) for record in new}


@lru_cache
def _record(tables: frozenset[str]) -> str:
    """The statement that writes rows of these tables: one that it only names costs as much as one it uses."""
    order = sorted(tables)
    inserts = for_each_table(_INSERT, tables=order)
    return _GIVEN + inserts + for_each_table(" select * from {table}_new", " union all", order)


async def record_eventless(connection: Connection, transactions: Sequence[ChainTransaction]) -> None:
    """Record that finalized transactions have no event, so that they are not fetched again."""
    if transactions:
        order = sorted(transactions, key=lambda tx: tx.signature)
        await connection.execute(_RECORD_EVENTLESS, [tx.signature for tx in order], [tx.slot for tx in order])


async def known_signatures(connection: Connection, signatures: Sequence[str]) -> set[str]:
    """The signatures of transactions whose events are recorded, or that are known to have none.

    A transaction's events are recorded together.
    """
    return {row["tx_signature"] for row in await connection.fetch(_KNOWN, signatures)}


async def indexed_slots(connection: Connection, signatures: Sequence[str]) -> list[TransactionInSlot]:
    """These transactions in each slot in which the index has anything of them, be it in quarantine."""
    rows = await connection.fetch(_SLOTS, signatures)
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]
