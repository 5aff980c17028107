"""The servers that commands talk to, each in a process of its own."""

from __future__ import annotations

import os

import pytest

from tests.integration.tasks.world import PROGRAM_ID, World


@pytest.fixture
def environment(world: World, database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of a command, with the URLs of all servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")} | {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": world.own.rpc.endpoint,
        "ZMARTD_SOLANA_PROGRAM_ID": str(PROGRAM_ID),
    }
