"""Announcements of what a market's outcome waits for: stored in its row, published, and logged once."""

from __future__ import annotations

from datetime import datetime

from zmartd.log import get_logger
from zmartd.market.decisions import Decision
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.bus import Bus, BusUnavailable
from zmartd.realtime.messages import Message
from zmartd.realtime.snapshots import market_update
from zmartd.store import markets, tallies
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.database import Database

log = get_logger(__name__)


class Announcements:
    """Each is committed before it is published. The methods raise DatabaseUnavailable and the like."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def announce_awaited_decision(self, market_id: str, state: MarketState, reason: str) -> None:
        """Announce that an admin has to decide about a market in `state`."""
        async with self._database.service() as connection:
            await tallies.announce(connection, market_id, None, None)
            market = await markets.set_settlement(connection, market_id, state, awaiting_decision=True)
        if market is not None:
            log.warning("market.awaits_decision", market_id=market_id, state=state.name, reason=reason)
            await self.publish(market)

    async def announce_settlement(
        self, market_id: str, verdict: Decision, settles_at: datetime, votes: str
    ) -> bool:
        """Announce when a dispute will be settled by its votes; whether this is the first announcement."""
        async with self._database.service() as connection:
            is_first = await tallies.announce(connection, market_id, verdict, settles_at)
            market = await markets.set_settlement(
                connection, market_id, MarketState.DISPUTED, settles_at=settles_at
            )
        if is_first:
            log.warning(
                "dispute.announced", market_id=market_id, settles_at=iso_time(settles_at), votes=votes
            )
        if market is not None:
            await self.publish(market)
        return is_first

    async def publish(self, market: MarketRow) -> None:
        """Publish a market's present state to its subscribers."""
        message = Message(
            market.id, market.version, market_update(market), market.updated_at, market.commitment
        )
        try:
            await self._bus.publish([message])
        except BusUnavailable as error:
            # The change is committed: a client notices the gap in the versions and reads the market again.
            log.warning("market.unpublished", market_id=market.id, reason=error.message)
