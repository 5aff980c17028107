"""Announcements of what a market's outcome waits for: stored in its row, published, and logged once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection

from zmartd.log import get_logger
from zmartd.market.decisions import Decision
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.messages import Message
from zmartd.realtime.publisher import Publisher
from zmartd.realtime.snapshots import state_message
from zmartd.store import markets, tallies
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.database import Database

log = get_logger(__name__)


class Announcements:
    """Each commits with the message about it. The methods raise DatabaseUnavailable and the like."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def announce_awaited_approval(self, market_id: str, reason: str) -> None:
        """Announce that only the admin can approve a proposal."""
        if await self._set_awaiting_approval(market_id, awaiting=True):
            log.warning("market.awaits_approval", market_id=market_id, reason=reason)

    async def withdraw_awaited_approval(self, market_id: str) -> None:
        """Announce that a proposal does not wait for the admin any more; nothing where it did not."""
        await self._set_awaiting_approval(market_id, awaiting=False)

    async def announce_awaited_decision(self, market_id: str, state: MarketState, reason: str) -> None:
        """Announce that an admin has to decide about a market in `state`."""
        async with self._database.service() as connection:
            await tallies.announce(connection, market_id, None, None)
            market = await markets.set_settlement(connection, market_id, state, awaiting_decision=True)
            messages = await self.append(connection, market)
        if messages:
            log.warning("market.awaits_decision", market_id=market_id, state=state.name, reason=reason)
        await self.publish(messages)

    async def announce_settlement(
        self, market_id: str, verdict: Decision, settles_at: datetime, votes: str
    ) -> bool:
        """Announce when a dispute will be settled by its votes; whether this is the first announcement."""
        async with self._database.service() as connection:
            is_first = await tallies.announce(connection, market_id, verdict, settles_at)
            market = await markets.set_settlement(
                connection, market_id, MarketState.DISPUTED, settles_at=settles_at
            )
            messages = await self.append(connection, market)
        if is_first:
            log.warning(
                "dispute.announced", market_id=market_id, settles_at=iso_time(settles_at), votes=votes
            )
        await self.publish(messages)
        return is_first

    async def _set_awaiting_approval(self, market_id: str, *, awaiting: bool) -> bool:
        """Whether that changed anything."""
        async with self._database.service() as connection:
            market = await markets.set_awaiting_approval(connection, market_id, awaiting=awaiting)
            messages = await self.append(connection, market)
        await self.publish(messages)
        return bool(messages)

    async def append(self, connection: Connection, market: MarketRow | None) -> list[Message]:
        """Append a market's state to its stream, as the last in a transaction; nothing for None."""
        return await self._publisher.append(connection, [] if market is None else [state_message(market)])

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish what was appended, after the commit."""
        await self._publisher.publish(messages)
