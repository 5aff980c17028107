"""Hubs that run, and clients of theirs that keep their frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.realtime.listeners import RecordingWriter
from tests.patience import SECONDS
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.realtime.bus import Bus
from zmartd.realtime.followed import History
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition

SETTINGS = config.RealtimeSettings(max_subscriptions=3, max_buffered_bytes=4_096)


@asynccontextmanager
async def running_hub(
    bus: Bus,
    database: Database,
    history: History | None = None,
    settings: config.RealtimeSettings = SETTINGS,
    turn_seconds: float = SECONDS,
) -> AsyncIterator[Hub]:
    """A hub that listens. Its subscriptions wait for the database for `turn_seconds`."""
    history = history or StreamHistory(database)
    hub = Hub(bus, history, settings, SystemClock(), turn_seconds=turn_seconds)
    task = asyncio.create_task(hub.run())
    try:
        async with asyncio.timeout(120):
            await hub.listening()
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def subscriber(hub: Hub, *names: str, since: StreamPosition | None = None) -> RecordingWriter:
    writer = RecordingWriter()
    client = hub.connect(writer)
    for name in names:
        await hub.subscribe(client, name, since=since)
    return writer
