"""Events that get their place in the block after they were applied: what their order decides follows anew."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.effects.configuration import CONFIGURATION_EVENTS, rates_set_in, refresh_configuration
from zmartd.indexer.effects.configuration_lock import lock_configuration
from zmartd.indexer.effects.lifecycle import out_of_order
from zmartd.indexer.effects.repricing import note_placed_trades
from zmartd.indexer.events.places import record_places
from zmartd.indexer.events.rows import TRADES
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import AnyMessage


async def place_events(
    connection: Connection, transactions: Sequence[ChainTransaction], *, verified: bool
) -> list[AnyMessage]:
    """Give recorded events the places of these transactions, and derive what follows from their order.

    Places that are not `verified` take the place of none. Takes a service transaction.
    """
    placed = await record_places(connection, transactions, verified=verified)
    if not placed:
        return []
    if any(row["event_type"] in CONFIGURATION_EVENTS for row in placed):
        await lock_configuration(connection)
        await refresh_configuration(connection)
    await note_placed_trades(
        connection, [(row["market_id"], row["slot"]) for row in placed if row["event_type"] in TRADES]
    )
    rates_from = await rates_set_in(connection, {row["slot"] for row in placed})
    events = [(row["event_type"], row["market_id"], row["slot"], row["tx_signature"]) for row in placed]
    market_ids = await out_of_order(connection, events)
    if not market_ids and rates_from is None:
        return []
    at = await connection.fetchval("select now()")
    return await rebuild_markets(connection, market_ids, at, rates_from, removed=())
