"""A localnet whose slots are completed by the test, and one that lives on its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.integration.embedded.localnet.localnet_client import Chain
from zmartd.embedded.localnet import Endpoints, LocalnetSettings, running

NEVER_MILLISECONDS = 3_600_000
"""No test lives long enough to see such a slot end by itself."""


@pytest.fixture
def still(tmp_path: Path) -> LocalnetSettings:
    """A localnet in which only the test completes slots."""
    return LocalnetSettings(tmp_path / "localnet", rpc_port=0, slot_milliseconds=NEVER_MILLISECONDS)


@pytest.fixture
async def chain(still: LocalnetSettings) -> AsyncIterator[Chain]:
    async with running(still) as endpoints, aiohttp.ClientSession() as session:
        yield Chain(endpoints, session)


@pytest.fixture
async def living(tmp_path: Path) -> AsyncIterator[Endpoints]:
    """A localnet with slots of 20 ms."""
    settings = LocalnetSettings(tmp_path / "localnet", rpc_port=0, slot_milliseconds=20)
    async with running(settings) as endpoints:
        yield endpoints
