"""Rolls back transactions that are not on the chain: removes their event rows and rebuilds their markets."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.indexer.effects.configuration import remove_configuration
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.removal import remove_transactions
from zmartd.indexer.events.rows import ADMIN_EVENTS, stored_row
from zmartd.indexer.rebuild.corrections import end_corrections
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import Message


class Rollback(Struct, frozen=True):
    """How many events were removed, and the messages about them and the markets without them."""

    events: int
    messages: tuple[Message, ...]


async def roll_back(connection: Connection, lost: Sequence[TransactionInSlot]) -> Rollback:
    """Roll back transactions where the index has them in these slots. Takes a service transaction."""
    removed = await remove_transactions(connection, lost)
    if not removed:
        return Rollback(0, ())
    rates_from = None
    if any(row["source"] == ADMIN_EVENTS for row in removed):
        rates_from = await remove_configuration(connection, lost)
    market_ids = {row["market_id"] for row in removed if row["market_id"] is not None}
    await end_corrections(connection, ((row["market_id"], row["slot"]) for row in removed))
    at = max(stored_row(row).occurred_at for row in removed)
    messages = await rebuild_markets(connection, market_ids, at, rates_from, removed=removed)
    return Rollback(len(removed), tuple(messages))
