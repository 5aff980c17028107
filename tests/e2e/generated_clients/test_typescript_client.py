"""The types that openapi-typescript generates from the OpenAPI document, compiled and used."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.generated_clients.commands import run
from tests.e2e.typescript import needs_node, node_modules_of
from tests.integration.http.rest.rest_stage import SOL, Stage

HERE = Path(__file__).parent
COMPILE = ("--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext")

pytestmark = needs_node


@pytest.fixture(scope="module")
def client(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the generated types and the sources that use them, compiled."""
    directory = tmp_path_factory.mktemp("typescript")
    (directory / "node_modules").symlink_to(node_modules_of(HERE))
    for name in ("package.json", "types.ts", "customer.ts"):
        shutil.copy(HERE / name, directory)
    said = run(directory, "node_modules/.bin/openapi-typescript", document, "--output", "api.ts")
    assert "warn" not in said.lower()
    run(directory, "node_modules/.bin/tsc", *COMPILE, "api.ts", "types.ts", "customer.ts")
    return directory


def test_central_shapes_have_the_types_that_the_api_means(client: Path) -> None:
    """Held by the compiler: `types.ts` says which."""
    assert (client / "types.js").exists()


async def test_a_customer_reads_markets_and_errors_with_the_types(client: Path, stage: Stage) -> None:
    market_id = await stage.active_market()
    url = str(stage.api.client.make_url("")).rstrip("/")
    seen = json.loads(await asyncio.to_thread(run, client, "node", "customer.js", url, market_id))
    assert int(seen.pop("totalCost")) in range(SOL // 2, SOL + 1)
    assert seen == {"markets": [market_id], "unknown": "market_not_found", "problems": ["limit"]}
