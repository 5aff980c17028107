"""The indexer, with a publisher that tells nobody what it has written."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from bench.synthetic_history import IDL
from zmartd import config
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import AnyMessage
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database


class _Unpublished(StreamPublisher):
    """Appends messages to their streams, and publishes none."""

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        pass


@asynccontextmanager
async def quiet_indexer(settings: config.DatabaseSettings) -> AsyncIterator[Indexer]:
    """An indexer on a database that has been migrated."""
    database = await Database.connect(settings)
    try:
        yield indexer_on(database)
    finally:
        await database.close()


def indexer_on(database: Database) -> Indexer:
    """An indexer on an open database, without Redis."""
    nobody = Bus(Redis(unix_socket_path=os.devnull), SystemClock())
    return Indexer(database, _Unpublished(nobody), Pdas(IDL.program_id))
