"""What a market waits for before its outcome is final: shown on its row, with its version counted up."""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection

from zmartd.market.lifecycle import MarketState
from zmartd.store import markets
from zmartd.store.markets import Market

_MARK = """
update markets set awaiting_decision = $3, settles_at = $4, version = version + 1
 where id = $1 and state = $2 and (awaiting_decision, settles_at) is distinct from ($3, $4::timestamptz)
returning id
"""


async def mark(
    connection: Connection,
    market_id: str,
    state: MarketState,
    *,
    awaiting_decision: bool = False,
    settles_at: datetime | None = None,
) -> Market | None:
    """Say that a market in `state` awaits an admin's decision, or settles at a time, or neither.

    None: it said so already, or has left that state. Takes a service transaction.
    """
    changed = await connection.fetchval(_MARK, market_id, state.name, awaiting_decision, settles_at)
    return await markets.get(connection, market_id) if changed else None
