"""The present state of markets, for clients that subscribe to them."""

from __future__ import annotations

from zmartd.market.ids import is_address, is_market_id
from zmartd.realtime.messages import MarketUpdate, Snapshot
from zmartd.store import markets
from zmartd.store.markets import MarketVersion
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY


class MarketSnapshots:
    """Reads markets from the database with the rights of an anonymous caller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, name: str) -> Snapshot | None:
        """The market with this id or address, or None.

        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        if not (is_market_id(name) or is_address(name)):
            return None
        async with self._database.reader(ANYBODY) as connection:
            market = await markets.find(connection, name)
        if market is None:
            return None
        return Snapshot(
            market.id, market.version, market_update(market), market.updated_at, market.commitment
        )


def market_update(market: MarketVersion) -> MarketUpdate:
    """The state of a market's row as messages have it."""
    return MarketUpdate(
        state=market.state,
        on_chain_address=market.on_chain_address,
        price_yes=market.price_yes,
        shares_yes=market.shares_yes,
        shares_no=market.shares_no,
        b_parameter=market.b_parameter or 0,
        total_volume_lamports=market.total_volume,
        current_liquidity_lamports=market.current_liquidity,
        proposed_outcome=market.proposed_outcome,
        final_outcome=market.final_outcome,
        awaiting_decision=market.awaiting_decision,
        settles_at=market.settles_at,
        slot=market.slot,
    )
