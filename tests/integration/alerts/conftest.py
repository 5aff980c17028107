from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.alerts.receiving import ReceivingServer, receiving


@pytest.fixture
async def server() -> AsyncIterator[ReceivingServer]:
    async with receiving() as server:
        yield server
