"""How final the rows of the index are."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.indexer.events.recording import TransactionInSlot

_PROMOTE = """
with final as (
    select * from unnest($1::text[], $2::bigint[]) as final (tx_signature, slot)
), market as (
    update market_events as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), trade as (
    update trade_events as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), vote as (
    update vote_events as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), admin as (
    update admin_events as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), line as (
    update quarantined_events as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), truncated as (
    update truncated_transactions as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
    returning kept.tx_signature
), priced as (
    update trades as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
), configured as (
    update protocol_config_history as kept set commitment = 'finalized' from final
     where kept.tx_signature = final.tx_signature and kept.slot = final.slot and commitment = 'confirmed'
)
select count(*) from (
    select tx_signature from market union select tx_signature from trade union select tx_signature from vote
    union select tx_signature from admin union select tx_signature from line
    union select tx_signature from truncated
) as promoted
"""
_OPEN_MARKETS = """
select id from markets
 where commitment = 'confirmed' and slot <= $1 and not orphaned
   and id not in (
       select market_id from market_events where commitment = 'confirmed' and market_id is not null
       union all
       select market_id from trade_events where commitment = 'confirmed' and market_id is not null
       union all
       select market_id from vote_events where commitment = 'confirmed' and market_id is not null
       union all
       select market_id from admin_events where commitment = 'confirmed' and market_id is not null)
 order by id
   for update
"""
_PROMOTE_MARKETS = """
update markets set commitment = 'finalized'
 where id = any($1::text[])
   and not exists (select from market_events where market_id = markets.id and commitment = 'confirmed')
   and not exists (select from trade_events where market_id = markets.id and commitment = 'confirmed')
   and not exists (select from vote_events where market_id = markets.id and commitment = 'confirmed')
   and not exists (select from admin_events where market_id = markets.id and commitment = 'confirmed')
"""
_NOT_FINALIZED = """
select tx_signature, slot from (
    select tx_signature, slot from market_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from trade_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from vote_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from admin_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from quarantined_events
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
    union
    select tx_signature, slot from truncated_transactions
     where commitment = 'confirmed' and slot >= $1 and (slot <= $3 or slot > $4)
) as unsettled
 where (slot, tx_signature) > ($1, $2)
 order by slot, tx_signature
 limit $5
"""


async def promote(connection: Connection, final: Sequence[TransactionInSlot]) -> int:
    """Mark these transactions' rows as finalized, where they are of these slots; how many that changed.

    Takes a service transaction.
    """
    order = sorted(final)
    promoted: int = await connection.fetchval(
        _PROMOTE, [one.signature for one in order], [one.slot for one in order]
    )
    return promoted


async def promote_markets(connection: Connection, finalized_slot: int) -> int:
    """Mark markets as finalized of which all that is known is; how many that were.

    A transaction that is being applied to one of them holds its row, and makes it `confirmed` again. Takes a
    service transaction.
    """
    ids = [row["id"] for row in await connection.fetch(_OPEN_MARKETS, finalized_slot)]
    if not ids:
        return 0
    return int((await connection.execute(_PROMOTE_MARKETS, ids)).split()[-1])


async def not_finalized(
    connection: Connection, after: TransactionInSlot, finalized_slot: int, impossible_slot: int, limit: int
) -> list[TransactionInSlot]:
    """Transactions that should be final by now and are not marked so, in the order of their slots.

    Those above `impossible_slot` as well, which can never become so. Takes a service transaction.
    """
    rows = await connection.fetch(
        _NOT_FINALIZED, after.slot, after.signature, finalized_slot, impossible_slot, limit
    )
    return [TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows]
