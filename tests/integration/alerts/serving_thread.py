"""The receiving server in a thread, for tests of commands, which have a loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from tests.integration.alerts.receiving import PATIENCE_SECONDS, ReceivingServer, receiving


@contextmanager
def serving() -> Iterator[ReceivingServer]:
    """The server, until the end of the block."""
    started: Future[ReceivingServer] = Future()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with receiving() as server:
            started.set_result(server)
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    try:
        yield started.result(PATIENCE_SECONDS)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        loop.close()
