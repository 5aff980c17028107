from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.http.rest.rest_api import Api, running_api
from zmartd.store.postgres.database import Database


@pytest.fixture
async def api(database: Database, redis_url: str) -> AsyncIterator[Api]:
    """The API without a chain: nobody answers at its RPC endpoint."""
    async with running_api(database, redis_url) as api:
        yield api
