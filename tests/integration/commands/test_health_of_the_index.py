"""What the operator's health check says of the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.tasks.world import PROGRAM_ID, World
from tests.shared_secrets import shared_secret
from zmartd import config_file
from zmartd.clock import SystemClock
from zmartd.config import Settings
from zmartd.core import open_core
from zmartd.daemon import application
from zmartd.http.machines.health import HEALTH, Check
from zmartd.indexer.parking import park
from zmartd.store.parked import Unapplied


async def first_check(settings: Settings) -> Check:
    async with open_core(settings, SystemClock()) as core:
        health = application(core)[HEALTH]
        while (found := (await health.checks())["index"]).status == "unknown":
            continue
        assert await health.is_serving()
        await health.close()
        return found


async def test_a_parked_transaction_degrades_a_daemon_that_goes_on_serving(
    world: World,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SOLANA_RPC_URL": world.rpc_url,
        "SOLANA_PROGRAM_ID": str(PROGRAM_ID),
        "AUTH_JWT_SECRET": shared_secret("sessions"),
        "HELIUS_AUTHORIZATION": shared_secret("webhook"),
    }.items():
        monkeypatch.setenv(f"ZMARTD_{name}", value)
    settings = config_file.load(None)
    assert await first_check(settings) == Check("ok")
    await park(world.database, [Unapplied("3" * 87, 1, "refused", "no")])
    found = await first_check(settings)
    assert found.status == "error"
    assert found.message.startswith("1 transactions could not be read or applied yet; `zmartd inbox parked`")
