"""The place in its block of what is recorded: not every source says it, and one may say it later."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection, Record

from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.rows import for_each_table

_PLACE = """
{table}_placed as (
    update {table} as kept set index_in_block = given.index_in_block from given
     where kept.tx_signature = given.tx_signature and kept.slot = given.slot
       and kept.index_in_block is distinct from given.index_in_block and ($4 or kept.index_in_block is null)
    returning kept.*
)"""
_PLACED = "select * from {table}_placed"
_FOLLOW = """
{table}_followed as (
    update {table} as kept set index_in_block = placed.index_in_block from placed
     where kept.tx_signature = placed.tx_signature and kept.event_index = placed.event_index
)"""
_RECORD = f"""
with given as (
    select * from unnest($1::text[], $2::bigint[], $3::int[]) as given (tx_signature, slot, index_in_block)
), {for_each_table(_PLACE)}, placed as ({for_each_table(_PLACED, " union all ")}),
{for_each_table(_FOLLOW, tables=("trades", "protocol_config_history"))}
select event_type, tx_signature, slot, market_id from placed
"""  # noqa: S608 - constants
_SHARED_SLOTS = """
select distinct event.market_id
  from unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
       as event (event_type, market_id, slot, signature)
  join program_events as other using (market_id)
 where other.tx_signature <> event.signature and other.event_type = any($5::text[])
   and (other.slot = event.slot
        or other.event_type = any($6::text[]) and event.event_type = any($6::text[]))
"""


async def record_places(
    connection: Connection, transactions: Sequence[ChainTransaction], *, verified: bool
) -> list[Record]:
    """Record the places of transactions where none is known, or where it differs from what is `verified`.

    Returns type, signature, slot and market of each event that got another place. Takes a service
    transaction.
    """
    placed = sorted((tx for tx in transactions if tx.index_in_block is not None), key=lambda tx: tx.signature)
    if not placed:
        return []
    columns = ([getattr(tx, name) for tx in placed] for name in ("signature", "slot", "index_in_block"))
    return list(await connection.fetch(_RECORD, *columns, verified))


async def in_shared_slots(
    connection: Connection,
    events: Sequence[tuple[str, str, int, str]],
    kinds: Sequence[str],
    repeated: Sequence[str],
) -> set[str]:
    """The markets of which another transaction has an event of these `kinds` in the slot of one of `events`
    (type, market, slot and signature of each), or in any slot where both are of a `repeated` kind.

    Takes a service transaction.
    """
    if not events:
        return set()
    rows = await connection.fetch(_SHARED_SLOTS, *map(list, zip(*events, strict=True)), kinds, repeated)
    return {row["market_id"] for row in rows}
