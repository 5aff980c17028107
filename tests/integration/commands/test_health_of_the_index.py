"""What the operator's health check says of the index, and of the authority's key."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.integration.tasks.world import AUTHORITY, CREATOR, PROGRAM_ID, RESOLVER, World
from tests.shared_secrets import shared_secret
from zmartd import config_file
from zmartd.clock import SystemClock
from zmartd.config import Settings
from zmartd.core import open_core
from zmartd.daemon import application
from zmartd.http.machines.health import HEALTH, Check
from zmartd.indexer.parking import park
from zmartd.private_file import write_private
from zmartd.store.parked import Unapplied


async def first_check(settings: Settings, name: str = "index") -> Check:
    async with open_core(settings, SystemClock()) as core:
        health = application(core)[HEALTH]
        while (found := (await health.checks())[name]).status == "unknown":
            continue
        assert await health.is_serving()
        await health.close()
        return found


@pytest.fixture
def settings(
    world: World, database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
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
    return config_file.load(None)


async def test_a_parked_transaction_degrades_a_daemon_that_goes_on_serving(
    world: World, settings: Settings
) -> None:
    assert await first_check(settings) == Check("ok")
    await park(world.database, [Unapplied("3" * 87, 1, "refused", "no")])
    found = await first_check(settings)
    assert found.status == "error"
    assert found.message.startswith("1 transactions could not be read or applied yet; `zmartd inbox parked`")


async def test_one_of_two_authority_keys_has_to_be_the_one_that_the_program_names(
    settings: Settings, tmp_path: Path
) -> None:
    for name, key in {"right": AUTHORITY, "wrong": CREATOR, "other": RESOLVER}.items():
        write_private(tmp_path / f"{name}.json", key.to_json())

    async def check_with(present: str, coming: str) -> Check:
        solana = replace(
            settings.solana,
            authority_keypair_path=str(tmp_path / f"{present}.json"),
            authority_next_keypair_path=str(tmp_path / f"{coming}.json"),
        )
        return await first_check(replace(settings, solana=solana), "authority")

    assert await check_with("right", "wrong") == Check("ok")
    assert await check_with("wrong", "right") == Check("ok")
    found = await check_with("wrong", "other")
    assert found.status == "error"
    assert found.message.startswith(
        f"the key of this daemon is {CREATOR.pubkey()} or {RESOLVER.pubkey()}, but"
    )
