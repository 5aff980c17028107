"""Everything that web3.js 1.x and kit can ask of a node, asked of the localnet with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.typescript import needs_node, node_modules_of, run_node
from zmartd.embedded.localnet import Endpoints, LocalnetSettings, running

HERE = Path(__file__).parent
SLOT_MILLISECONDS = 100
"""So short that a root comes soon; a blockhash is valid for a minute all the same."""

BLOCK_NOT_AVAILABLE, NO_SNAPSHOT, PREFLIGHT_FAILURE, UNSUPPORTED_VERSION = -32004, -32008, -32002, -32015
INVALID_PARAMS = -32602
NO_TOKENS = dict.fromkeys(
    ("getTokenAccountBalance", "getTokenLargestAccounts", "getTokenSupply"), INVALID_PARAMS
)
"""They are asked of a wallet."""
NOT_YET = {"getInflationReward": BLOCK_NOT_AVAILABLE}
"""The first epoch has not ended."""

pytestmark = needs_node


@pytest.fixture(scope="module")
def node_modules() -> Path:
    return node_modules_of(HERE)


@pytest.fixture
async def localnet(tmp_path: Path) -> AsyncIterator[Endpoints]:
    settings = LocalnetSettings(tmp_path / "localnet", rpc_port=0, slot_milliseconds=SLOT_MILLISECONDS)
    async with running(settings) as endpoints:
        yield endpoints


async def seen_by(client: str, directory: Path, node_modules: Path, *arguments: str) -> Any:
    (directory / "node_modules").symlink_to(node_modules)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, directory)
    return json.loads(await run_node(str(directory / f"{client}.mjs"), *arguments))


def errors_of(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: outcome for name, outcome in seen.items() if outcome != "ok"}


async def test_web3_js_understands_every_answer(
    tmp_path: Path, node_modules: Path, localnet: Endpoints
) -> None:
    found = await seen_by("web3js", tmp_path, node_modules, localnet.rpc_url)
    expected = NO_TOKENS | NOT_YET | {"getBlock without a version": UNSUPPORTED_VERSION}
    assert errors_of(found["seen"]) == expected
    assert set(found["told"]) == {"account", "logs", "program", "root", "slot", "slotUpdate"}
    assert found["nonceTransaction"] == {"InstructionError": [1, {"Custom": 1}]}
    assert found["nonceAdvanced"] is True
    assert found["blockHasIt"] is True
    assert found["leader"] is True


async def test_kit_understands_every_answer(tmp_path: Path, node_modules: Path, localnet: Endpoints) -> None:
    found = await seen_by("kit", tmp_path, node_modules, localnet.rpc_url, localnet.ws_url)
    # The transaction that it sends has landed before.
    expected = (
        NO_TOKENS
        | NOT_YET
        | {
            "getHighestSnapshotSlot": NO_SNAPSHOT,
            "sendTransaction": PREFLIGHT_FAILURE,
        }
    )
    assert errors_of(found["seen"]) == expected
    assert set(found["told"]) == {"account", "block", "logs", "program", "root", "slot", "slotsUpdates"}
    assert "nobody votes on this localnet" in found["votes"]
