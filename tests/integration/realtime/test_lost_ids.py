"""What is committed after a crash of Postgres reaches subscribers, though its transaction has an id that was
given out before.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.realtime.hubs import running_hub, subscriber
from tests.integration.realtime.listeners import MARKET, Markets, eventually
from tests.patience import SECONDS
from tests.postgres_crashes import crashing_postgres
from zmartd.realtime.bus import Bus
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.streams import Changes


class HeldHistory(StreamHistory):
    """Holds looks back where the test says so."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks = 0
        self._going = asyncio.Event()
        self._going.set()
        self._waiting = asyncio.Event()

    async def changes(self, horizon: str | None) -> Changes:
        if not self._going.is_set():
            self._waiting.set()
            await self._going.wait()
        found = await super().changes(horizon)
        self.looks += 1
        return found

    async def look_once_more(self) -> None:
        """Hold the looks after one that begins from now on, and return when the next one waits."""
        self._going.set()
        looks = self.looks
        await eventually(lambda: self.looks > looks + 1, timeout_seconds=SECONDS)
        self._waiting.clear()
        self._going.clear()
        async with asyncio.timeout(SECONDS):
            await self._waiting.wait()

    def go_on(self) -> None:
        self._going.set()


async def test_a_message_with_the_id_of_a_lost_transaction_arrives(bus: Bus, tmp_path: Path) -> None:
    async with crashing_postgres(tmp_path / "postgres") as server:
        markets = Markets(server.database, bus)
        await markets.create()
        history = HeldHistory(server.database)
        async with running_hub(bus, server.database, history) as hub:
            writers = [await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)]
            while True:
                dying = await server.use_ids()
                given = await server.next_id()
                await history.look_once_more()
                await server.crash(dying)
                if await server.next_id() < given:
                    break
            await markets.commit(None)  # the bus has nothing of it
            assert await server.next_id() <= given
            history.go_on()
            for writer in writers:
                await writer.until(lambda out: out.told == [1], timeout_seconds=SECONDS)
