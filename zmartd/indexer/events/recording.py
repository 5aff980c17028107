"""Event rows: written once each, by their place on the chain."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.payloads import payload_json
from zmartd.indexer.events.rows import EventRow

_RECORD = """
with given as (
    select *
      from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::int[], $7::timestamptz[],
                  $8::text[], $9::text[], $10::jsonb[])
        as given (tab, event_type, tx_signature, event_index, slot, index_in_block, block_time,
                  market_id, actor, payload)
), market as (
    insert into market_events (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                               market_id, actor, payload, commitment)
    select event_type, tx_signature, event_index, slot, index_in_block, block_time,
           market_id, actor, payload, $11
      from given where tab = 'market_events'
    on conflict do nothing returning tx_signature, event_index
), trade as (
    insert into trade_events (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                              market_id, actor, payload, commitment)
    select event_type, tx_signature, event_index, slot, index_in_block, block_time,
           market_id, actor, payload, $11
      from given where tab = 'trade_events'
    on conflict do nothing returning tx_signature, event_index
), vote as (
    insert into vote_events (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                             market_id, actor, payload, commitment)
    select event_type, tx_signature, event_index, slot, index_in_block, block_time,
           market_id, actor, payload, $11
      from given where tab = 'vote_events'
    on conflict do nothing returning tx_signature, event_index
), admin as (
    insert into admin_events (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                              market_id, actor, payload, commitment)
    select event_type, tx_signature, event_index, slot, index_in_block, block_time,
           market_id, actor, payload, $11
      from given where tab = 'admin_events'
    on conflict do nothing returning tx_signature, event_index
)
select * from market union all select * from trade union all select * from vote union all select * from admin
"""

_KNOWN = """
select tx_signature from market_events where tx_signature = any($1::text[])
union select tx_signature from trade_events where tx_signature = any($1::text[])
union select tx_signature from vote_events where tx_signature = any($1::text[])
union select tx_signature from admin_events where tx_signature = any($1::text[])
union select tx_signature from eventless_transactions where tx_signature = any($1::text[])
"""
_NOTE_EVENTLESS = """
insert into eventless_transactions (tx_signature, slot)
select * from unnest($1::text[], $2::bigint[])
on conflict do nothing
"""


_SLOTS = """
select tx_signature, slot from market_events where tx_signature = any($1::text[])
union select tx_signature, slot from trade_events where tx_signature = any($1::text[])
union select tx_signature, slot from vote_events where tx_signature = any($1::text[])
union select tx_signature, slot from admin_events where tx_signature = any($1::text[])
union select tx_signature, slot from quarantined_events where tx_signature = any($1::text[])
union select tx_signature, slot from truncated_transactions where tx_signature = any($1::text[])
"""


class TransactionInSlot(Struct, frozen=True, order=True):
    """A transaction as the index has it: in that slot."""

    slot: int
    signature: str


async def record(
    connection: Connection, rows: Sequence[EventRow], market_ids: Sequence[str | None], commitment: str
) -> set[tuple[str, int]]:
    """Write the rows that are not there yet and return their keys. `market_ids` go with `rows` one by one.

    Rows come sorted by key, so that two daemons that record the same events wait for each other in one order.
    """
    new = await connection.fetch(
        _RECORD,
        [row.table for row in rows],
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


async def record_eventless(connection: Connection, transactions: Sequence[ChainTransaction]) -> None:
    """Remember that final transactions have no event, so that nobody fetches them for one again."""
    if transactions:
        order = sorted(transactions, key=lambda tx: tx.signature)
        await connection.execute(_NOTE_EVENTLESS, [tx.signature for tx in order], [tx.slot for tx in order])


async def known_signatures(connection: Connection, signatures: Sequence[str]) -> set[str]:
    """Those of the transactions whose events are recorded, or that are known to have none.

    A transaction's events are recorded together.
    """
    return {row["tx_signature"] for row in await connection.fetch(_KNOWN, signatures)}


async def indexed_slots(connection: Connection, signatures: Sequence[str]) -> list[TransactionInSlot]:
    """What the index has of these transactions, be it in quarantine."""
    return [
        TransactionInSlot(row["slot"], row["tx_signature"])
        for row in await connection.fetch(_SLOTS, signatures)
    ]
