"""A step of pricing a market's trades anew, with what subscribers are told of it."""

from __future__ import annotations

from asyncpg import Connection

from zmartd.indexer.effects import markets
from zmartd.indexer.effects.configuration import rate_history
from zmartd.indexer.effects.market_messages import rebuild_messages
from zmartd.indexer.effects.market_sums import MarketSums
from zmartd.indexer.effects.repricing import reprice_step
from zmartd.indexer.effects.trades import MOST_REPRICED
from zmartd.realtime.messages import AnyMessage


async def reprice_market(connection: Connection, market_id: str) -> tuple[None, list[AnyMessage]]:
    """Do the next step for a market. Returns messages where it changed the totals.

    Takes a service transaction.
    """
    before = await markets.lock_markets(connection, [market_id])
    if market_id not in before or before[market_id].curve.repricing is None:
        return None, []
    curve, history = before[market_id].curve, await rate_history(connection)
    added = await reprice_step(connection, market_id, curve, history, MOST_REPRICED)
    if added == MarketSums():
        return None, []
    after = await markets.advance_markets(
        connection, {market_id: 0}, {market_id: curve}, {market_id: added}, "finalized"
    )
    at = await connection.fetchval("select now()")
    return None, [
        *rebuild_messages(
            before, after, at, removed=(), recorded=(), fills={}, commitment=after[0].commitment
        )
    ]
