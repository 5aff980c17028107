from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from tests.integration.chain.chain_nodes import Node, node_before
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.localnet import Endpoints, LocalnetSettings, running
from zmartd.embedded.localnet.chain.blocks import blockhash_blocks

SLOT_MILLISECONDS = 20
EXPIRY_SLOTS = blockhash_blocks(SLOT_MILLISECONDS) + 50
"""After so many slots it is final that a blockhash has ended."""
RICH = Keypair.from_seed(bytes([42] * 32))
"""Holds a million SOL from genesis on."""


@pytest.fixture
async def localnet(tmp_path: Path) -> AsyncIterator[Endpoints]:
    """A chain with slots of 20 ms."""
    settings = LocalnetSettings(
        tmp_path / "chain",
        rpc_port=0,
        slot_milliseconds=SLOT_MILLISECONDS,
        genesis_accounts={str(RICH.pubkey()): 10**15},
    )
    async with running(settings) as endpoints:
        yield endpoints


@pytest.fixture
async def node(localnet: Endpoints) -> AsyncIterator[Node]:
    """A node of that chain that a test can make misbehave."""
    async with node_before(localnet.rpc_url) as node:
        yield node


@pytest.fixture
async def rpc(node: Node) -> AsyncIterator[Rpc]:
    async with Rpc(node.address, clock=SystemClock()) as rpc:
        yield rpc


@pytest.fixture
def rich() -> Keypair:
    return RICH
