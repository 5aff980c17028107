"""Marks rows of the index as finalized, and finds those that should be."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import EVENT_TABLES, for_each_table

_OF_TRANSACTIONS = (*EVENT_TABLES, "quarantined_events", "truncated_transactions")
"""The tables that say what a transaction did. Rows of the derived ones follow them."""
_DERIVED = ("trades", "protocol_config_history")

_UPDATE = """
{table}_promoted as (
    update {table} as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
)"""
_PROMOTE = f"""
with final as (select * from unnest($1::text[], $2::bigint[]) as final (tx_signature, slot)),
{for_each_table(_UPDATE, tables=(*_OF_TRANSACTIONS, *_DERIVED))}
select count(*) from (
    {for_each_table("select * from {table}_promoted", " union ", tables=_OF_TRANSACTIONS)}
) as promoted
"""  # noqa: S608 - constants
_OPEN_MARKETS = """
select id from markets
 where commitment = 'confirmed' and slot <= $1 and not orphaned
   and id not in (
       select market_id from program_events where commitment = 'confirmed' and market_id is not null)
 order by id
   for update
"""
_PROMOTE_MARKETS = """
update markets set commitment = 'finalized'
 where id = any($1::text[])
   and not exists (select from program_events where market_id = markets.id and commitment = 'confirmed')
"""
_NOT_FINALIZED = """
select tx_signature, slot from (
    select tx_signature, slot from program_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from quarantined_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from truncated_transactions
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
) as confirmed
 where (slot, tx_signature) > ($1, $2)
 order by slot, tx_signature
 limit $5
"""


async def promote(connection: Connection, final: Sequence[TransactionInSlot]) -> int:
    """Mark the rows of these transactions in these slots as finalized. Returns how many transactions changed.

    Takes a service transaction.
    """
    order = sorted(final)
    promoted: int = await connection.fetchval(
        _PROMOTE, [one.signature for one in order], [one.slot for one in order]
    )
    return promoted


async def promote_markets(connection: Connection, finalized_slot: int) -> int:
    """Mark the markets as finalized whose events all are. Returns how many changed.

    A transaction that is being applied to such a market holds the lock of its row, and makes it `confirmed`
    again. Takes a service transaction.
    """
    ids = [row["id"] for row in await connection.fetch(_OPEN_MARKETS, finalized_slot)]
    if not ids:
        return 0
    return int((await connection.execute(_PROMOTE_MARKETS, ids)).split()[-1])


async def not_finalized(
    connection: Connection, after: TransactionInSlot, finalized_slot: int, impossible_slot: int, limit: int
) -> list[TransactionInSlot]:
    """The next transactions after `after` that should be finalized and are not marked so, ordered by slot.

    Includes those above `impossible_slot`, which can never become final. Takes a service transaction.
    """
    rows = await connection.fetch(
        _NOT_FINALIZED, after.slot, after.signature, finalized_slot, impossible_slot, limit
    )
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]
