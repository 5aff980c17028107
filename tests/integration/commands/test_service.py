"""`zmartd serve` as systemd runs it: told about, watched, and restarted without a refused connection."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests import patience
from tests.service_manager import Service
from tests.shared_secrets import shared_secret

SECRETS = {
    "ZMARTD_AUTH_JWT_SECRET": shared_secret("jwt"),
    "ZMARTD_HELIUS_AUTHORIZATION": shared_secret("helius"),
}


@pytest.fixture
async def service(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Service]:
    own = SECRETS | {"ZMARTD_SERVER_DRAIN_SECONDS": "1"}
    async with Service(tmp_path, environment | own, watchdog_seconds=0.6) as service:
        yield service


async def test_a_restart_refuses_no_connection_and_systemd_hears_of_each_step(service: Service) -> None:
    await service.start()
    statuses = [message["STATUS"] for message in service.told if "STATUS" in message]
    assert statuses == ["opening Postgres, Redis and the chain", f"serving on 127.0.0.1:{service.port}"]
    await service.until_told("WATCHDOG")
    async with aiohttp.ClientSession(service.url) as session, session.ws_connect("/ws") as socket:
        await socket.receive()
        assert await _status(session) == (200, None)
        service.send(signal.SIGTERM)
        told = await socket.receive(timeout=patience.SECONDS)
        assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        assert re.search(r"; retry: [0-9]+$", told.extra or "")
        await socket.close()
        assert await service.ended() == 0
        waiting = asyncio.create_task(_status(session))  # nobody accepts, and nobody refuses
        await service.start()
        assert await waiting == (200, None)
    service.send(signal.SIGABRT)  # what systemd sends to a service that does not feed its watchdog
    assert await service.ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in service.log.read_text()


async def test_it_serves_on_while_it_drains_and_a_second_signal_ends_it_at_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for_hours = {"ZMARTD_SERVER_DRAIN_SECONDS": "3600"}
    async with (
        Service(tmp_path, environment | SECRETS | for_hours) as service,
        aiohttp.ClientSession(service.url) as session,
    ):
        await service.start()
        assert await _status(session) == (200, None)
        service.send(signal.SIGTERM)
        await service.until_told("STOPPING")
        while await _status(session) != (200, "close"):
            pass
        service.send(signal.SIGTERM)
        assert await service.ended() == -signal.SIGTERM


async def _status(session: aiohttp.ClientSession) -> tuple[int, str | None]:
    """The status of an answer, and what it says of its connection."""
    async with session.get("/health") as response:
        return response.status, response.headers.get("Connection")
