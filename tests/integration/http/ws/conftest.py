from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.http.ws.websocket_daemon import Daemon, StartDaemon, running_daemon
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.http.ws import socket
from zmartd.store.postgres.database import Database


@pytest.fixture(autouse=True)
def _brief_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that do not answer a close frame are waited for, but not for seconds."""
    monkeypatch.setattr(socket, "CLOSE_SECONDS", 0.3)


@pytest.fixture
async def start(redis_url: str, database: Database) -> AsyncIterator[StartDaemon]:
    """Starts daemons, which share one Redis and one database."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: Any, **named: Any) -> Daemon:
            return await stack.enter_async_context(
                running_daemon(redis_url, named.pop("database", database), *arguments, **named)
            )

        yield start


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A server that the test may stop and start."""
    server = EmbeddedValkey(tmp_path / "valkey")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def daemon(start: StartDaemon) -> Daemon:
    return await start()
