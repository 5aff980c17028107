from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.http.rest.rest_stage import Stage, running_stage
from zmartd.chain.idl import default_idl
from zmartd.http.openapi.document import openapi
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the OpenAPI document."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(msgspec.json.encode(openapi(OPERATIONS, default_idl())))
    return path


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain that runs the program."""
    async with running_stage(database, redis_url, tmp_path) as stage:
        yield stage
