"""The TypeScript clients that wallets and frontends use, against the localnet and the real program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solders.pubkey import Pubkey

from tests.e2e.typescript import needs_node, node_modules_of, run_node
from zmartd.chain.accounts import MarketAccount
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.market.lifecycle import MarketState

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROGRAM_FILE = ROOT / "zmartd/embedded/programs/zmart_core.so"
IDL_FILE = ROOT / "zmartd/chain/idl/zmart_core.json"
PROGRAM_ID = json.loads(IDL_FILE.read_bytes())["address"]

pytestmark = needs_node


@pytest.fixture(scope="module")
def node_modules() -> Path:
    return node_modules_of(HERE)


async def test_anchor_creates_a_market_votes_and_reads_both_back(tmp_path: Path, node_modules: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    script = shutil.copy(HERE / "market.mjs", tmp_path)
    settings = LocalnetSettings(tmp_path / "localnet", rpc_port=0, programs={PROGRAM_ID: PROGRAM_FILE})
    async with running(settings) as endpoints:
        seen = json.loads(await run_node(str(script), endpoints.rpc_url, str(IDL_FILE), PROGRAM_ID))
        async with AsyncClient(endpoints.rpc_url, commitment=Confirmed) as client:
            account = (await client.get_account_info(Pubkey.from_string(seen["market"]))).value
    assert account is not None
    market = MarketAccount.decode(account.data)
    assert seen["accountCreator"] == seen["creator"] == str(market.creator)
    assert seen["marketId"] == market.market_id.hex()
    assert (seen["state"], market.state) == ("proposed", MarketState.PROPOSED)
    assert (seen["bParameter"], market.b_parameter) == ("100000000000", 100_000_000_000)
    assert (seen["initialLiquidity"], market.initial_liquidity) == ("1000000000", 1_000_000_000)
    assert seen["question"] == "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG"
    assert seen["votes"] == [{"user": seen["voter"], "vote": True}]
    assert seen["parsedEvents"] == ["marketCreated"]
    assert seen["heard"] == {"signature": seen["created"], "marketId": seen["marketId"]}
    assert seen["changedBytes"] == len(account.data)
    assert any("already in use" in line for line in seen["votedTwice"]["logs"])
    assert seen["activatedTooEarly"] == "InvalidStateTransition"
    assert seen["simulatedError"] is None
