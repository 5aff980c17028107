"""Undoing transactions that are no longer on the chain: exactly, by building their markets again.

The event rows are taken away, and every market that they touched is built again from the event rows that are
left, in one database transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.indexer.effects.configuration import remove_configuration
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import ADMIN, stored_row
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import Message

_REMOVE = """
with lost as (
    select * from unnest($1::text[], $2::bigint[]) as lost (tx_signature, slot)
), market as (
    delete from market_events as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), trade as (
    delete from trade_events as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), vote as (
    delete from vote_events as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), admin as (
    delete from admin_events as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), line as (
    delete from quarantined_events as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), truncated as (
    delete from truncated_transactions as gone using lost
     where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot returning gone.*
), event as (
    select 'market_events' as source, market.* from market
    union all select 'trade_events', trade.* from trade
    union all select 'vote_events', vote.* from vote
    union all select 'admin_events', admin.* from admin
), kept as (
    insert into orphaned_events (source, tx_signature, event_index, slot, market_id, content)
    select source, tx_signature, event_index, slot, market_id, to_jsonb(event) - 'source' from event
    union all
    select 'quarantined_events', tx_signature, event_index, slot, null, to_jsonb(line) from line
    union all
    select 'truncated_transactions', tx_signature, 0, slot, null, to_jsonb(truncated) from truncated
)
select * from event
"""


class Rollback(Struct, frozen=True):
    """How many events were taken away, and the news of what is true without them."""

    events: int
    messages: tuple[Message, ...]


async def roll_back(connection: Connection, lost: Sequence[TransactionInSlot]) -> Rollback:
    """Take these transactions back, where the index has them in these slots. Takes a service transaction."""
    order = sorted(lost)
    arguments = [one.signature for one in order], [one.slot for one in order]
    removed = list(await connection.fetch(_REMOVE, *arguments))
    if not removed:
        return Rollback(0, ())
    rates_from = None
    if any(row["source"] == ADMIN for row in removed):
        rates_from = await remove_configuration(connection, *arguments)
    market_ids = {row["market_id"] for row in removed if row["market_id"] is not None}
    at = max(stored_row(row).occurred_at for row in removed)
    return Rollback(len(removed), tuple(await rebuild_markets(connection, market_ids, at, rates_from)))
