"""Who may vote on a dispute: the wallets that held a position when the market's outcome was proposed."""

from __future__ import annotations

from asyncpg import Connection

from zmartd.chain.events import MarketResolved, SharesBought, SharesSold, SharesTransferred
from zmartd.indexer.effects.batch import Batch

_REFRESH = """
select zmartd.refresh_electorate(array(
    select market_id from market_events
     where market_id = any($1::text[]) and event_type = 'MarketResolved'
))
"""
_DECIDING = frozenset({MarketResolved, SharesBought, SharesSold, SharesTransferred})


async def refresh_electorates(connection: Connection, batch: Batch) -> None:
    """Work out the electorates that these events decide, once their effects are applied.

    A market is traded until its outcome is proposed, so this has something to do once in a market's life,
    and again when an event of the time before arrives late.
    """
    decided = {batch.market_of(row) for row in batch.rows if type(row.event) in _DECIDING}
    if decided:
        await connection.execute(_REFRESH, sorted(market_id for market_id in decided if market_id))
