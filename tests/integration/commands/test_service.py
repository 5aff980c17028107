"""`zmartd serve` as systemd runs it: told about, watched, and restarted without a refused connection."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.service_manager import Service
from tests.shared_secrets import shared_secret


@pytest.fixture
async def service(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Service]:
    secrets = {
        "ZMARTD_AUTH_JWT_SECRET": shared_secret("jwt"),
        "ZMARTD_HELIUS_AUTHORIZATION": shared_secret("helius"),
    }
    async with Service(tmp_path, environment | secrets, watchdog_seconds=0.6) as service:
        yield service


async def test_a_restart_refuses_no_connection_and_systemd_hears_of_each_step(service: Service) -> None:
    await service.start()
    statuses = [message["STATUS"] for message in service.told if "STATUS" in message]
    assert statuses == ["opening Postgres, Redis and the chain", f"serving on 127.0.0.1:{service.port}"]
    await service.until_told("WATCHDOG")
    async with aiohttp.ClientSession(service.url) as session:
        async with session.get("/health") as response:
            assert response.status == 200
        service.send(signal.SIGTERM)
        await service.until_told("STOPPING")
        assert await service.ended() == 0
        waiting = asyncio.create_task(_status(service.url))  # nobody accepts, and nobody refuses
        await service.start()
        assert await waiting == 200
    service.send(signal.SIGABRT)  # what systemd sends to a service that does not feed its watchdog
    assert await service.ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in service.log.read_text()


async def _status(url: str) -> int:
    async with aiohttp.ClientSession(url) as session, session.get("/health") as response:
        return response.status
