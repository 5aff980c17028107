"""Marks rows of the index as finalized, and finds those that should be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import EVENT_TABLES, for_each_table

_UNREADABLE = ("quarantined_events", "truncated_transactions")
_DERIVED = ("trades", "protocol_config_history")
"""Tables whose rows follow those of what the transaction did."""

_UPDATE = """
{table}_promoted as (
    update {table} as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.*
)"""
_PROMOTED = """
select event_type, tx_signature, event_index, slot, index_in_block, market_id, actor from {table}_promoted
"""
_PROMOTED_UNREADABLE = "select null, tx_signature, null, null, null, null, null from {table}_promoted"
_PROMOTE = f"""
with final as (select * from unnest($1::text[], $2::bigint[]) as final (tx_signature, slot)),
{for_each_table(_UPDATE, tables=(*EVENT_TABLES, *_UNREADABLE, *_DERIVED))}
{for_each_table(_PROMOTED, " union all ")}
union all
{for_each_table(_PROMOTED_UNREADABLE, " union all ", tables=_UNREADABLE)}
"""  # noqa: S608 - constants
_LOCK_MARKETS_OF = """
select from markets
 where id in (select market_id from unnest($1::text[], $2::bigint[]) as final (tx_signature, slot)
                join program_events using (tx_signature, slot))
 order by id
   for share
"""
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
returning id, category, now() as at
"""
_PUBLISHED = "select id, category, now() as at from markets where id = any($1::text[]) and not orphaned"
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
   and not exists (select from parked_transactions as parked where parked.tx_signature =
   confirmed.tx_signature)
 order by slot, tx_signature
 limit $5
"""
_UNVERIFIED = """
select tx_signature, slot from program_events
 where commitment = 'confirmed' and tx_signature = any($1::text[])
union
select tx_signature, slot from quarantined_events
 where commitment = 'confirmed' and tx_signature = any($1::text[])
union
select tx_signature, slot from truncated_transactions
 where commitment = 'confirmed' and tx_signature = any($1::text[])
"""


_UNVERIFIED_UNTIL = """
select distinct tx_signature, slot from program_events
 where commitment = 'confirmed' and slot <= $1 and (slot, tx_signature) > ($4, $5)
   and (event_type = any($3::text[])
        or market_id in (select id from markets where on_chain_address = any($2::text[])))
 order by slot, tx_signature limit $6
"""


_HAS_UNVERIFIED = """
select exists (
    select from program_events
     where commitment = 'confirmed'
       and (event_type = any($2::text[])
            or market_id = (select id from markets where on_chain_address = $1)))
"""


class PublishedMarket(Struct, frozen=True):
    """The category of a market that is on the chain, and the present time."""

    category: str
    at: datetime


class Promoted(Struct, frozen=True):
    """The signatures of what became final, the rows of its events, and the markets of these that are on the
    chain, by their ids.
    """

    signatures: frozenset[str]
    events: Sequence[Record]
    markets: dict[str, PublishedMarket]


async def promote(connection: Connection, final: Sequence[TransactionInSlot]) -> Promoted:
    """Mark the rows of these transactions in these slots as finalized. Takes a service transaction.

    Their markets are locked before: one that is rebuilt would write its trades anew as they were.
    """
    order = sorted(final)
    chosen = [one.signature for one in order], [one.slot for one in order]
    await connection.execute(_LOCK_MARKETS_OF, *chosen)
    rows = await connection.fetch(_PROMOTE, *chosen)
    ids = sorted({row["market_id"] for row in rows if row["market_id"] is not None})
    return Promoted(
        signatures=frozenset(row["tx_signature"] for row in rows),
        events=[row for row in rows if row["event_type"] is not None],
        markets=_published(await connection.fetch(_PUBLISHED, ids)),
    )


async def promote_markets(connection: Connection, finalized_slot: int) -> dict[str, PublishedMarket]:
    """Mark the markets as finalized whose events all are. Returns them by their ids.

    A transaction that is being applied to such a market holds the lock of its row, and makes it `confirmed`
    again. Takes a service transaction.
    """
    ids = [row["id"] for row in await connection.fetch(_OPEN_MARKETS, finalized_slot)]
    return _published(await connection.fetch(_PROMOTE_MARKETS, ids)) if ids else {}


async def not_finalized(
    connection: Connection, after: TransactionInSlot, finalized_slot: int, impossible_slot: int, limit: int
) -> list[TransactionInSlot]:
    """The next transactions after `after` that should be finalized and are not marked so, ordered by slot.

    Includes those above `impossible_slot`, which can never become final, and leaves out what is parked: it
    cannot be compared with the chain yet, and would hold up the others (`zmartd.indexer.retry` minds it).
    Takes a service transaction.
    """
    rows = await connection.fetch(
        _NOT_FINALIZED, after.slot, after.signature, finalized_slot, impossible_slot, limit
    )
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]


async def unverified(connection: Connection, signatures: Sequence[str]) -> list[TransactionInSlot]:
    """These transactions in each slot in which something is indexed of them that was not compared with the
    chain. Takes a service transaction."""
    rows = await connection.fetch(_UNVERIFIED, signatures)
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]


async def unverified_until(
    connection: Connection,
    slot: int,
    addresses: Sequence[str],
    event_types: Sequence[str],
    *,
    after: TransactionInSlot,
    limit: int,
) -> list[TransactionInSlot]:
    """The next transactions after `after`, up to a slot, with events that were not compared with the chain:
    of the markets with these addresses, or of these types. Takes a service transaction."""
    rows = await connection.fetch(
        _UNVERIFIED_UNTIL, slot, addresses, event_types, after.slot, after.signature, limit
    )
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]


async def has_unverified(connection: Connection, address: str, event_types: Sequence[str]) -> bool:
    """Whether there are such events of one market, or of these types. Takes a service transaction."""
    found: bool = await connection.fetchval(_HAS_UNVERIFIED, address, event_types)
    return found


def _published(rows: Sequence[Record]) -> dict[str, PublishedMarket]:
    return {row["id"]: PublishedMarket(row["category"], row["at"]) for row in rows}
