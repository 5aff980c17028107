"""The drill: a database is lost, restored elsewhere, and brought up to the chain by commands."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse
from redis.asyncio import Redis

from tests.forked_commands import run_command
from tests.integration.indexer.test_reconcile import finalized
from tests.integration.tasks.world import HOLDERS, PROGRAM_ID, World, a_world
from tests.outside_servers import PostgresServer
from tests.patience import patient_database
from tests.ports import free_port
from tests.shared_secrets import shared_secret
from tests.statements import execute
from zmartd import config, daemon
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, SharedSecret
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

LOST, ELSEWHERE = "drill_lost", "drill_elsewhere"
PATIENCE_SECONDS = 300

Zmartd = Callable[..., Awaitable[str]]


@pytest.fixture
async def databases(postgres_server: PostgresServer) -> AsyncIterator[None]:
    """One that will be lost, and an empty one."""
    administration = postgres_server.dsn_of("postgres")
    for name in (LOST, ELSEWHERE):
        await execute(administration, f"create database {name} template template0")
    yield
    for name in (LOST, ELSEWHERE):
        await execute(administration, f"drop database if exists {name} with (force)")


def settings_of(dsn: str, redis_url: str, rpc_url: str) -> config.Settings:
    return config.Settings(
        server=config.ServerSettings(port=free_port(), environment="development"),
        operator=config.OperatorSettings(port=0),
        database=config.DatabaseSettings(url=PostgresUrl(dsn), acquire_seconds=PATIENCE_SECONDS),
        redis=config.RedisSettings(url=RedisUrl(redis_url)),
        solana=config.SolanaSettings(rpc_url=RpcUrl(rpc_url), cluster="localnet", program_id=str(PROGRAM_ID)),
        helius=config.HeliusSettings(authorization=SharedSecret(shared_secret("webhook"))),
        auth=config.AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions"))),
    )


@asynccontextmanager
async def client_of(settings: config.Settings) -> AsyncIterator[ClientWebSocketResponse]:
    """A WebSocket to the daemon with these settings."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{settings.server.port}/ws") as socket,
    ):
        assert (await frame(socket))["type"] == "welcome"
        yield socket


async def frame(socket: ClientWebSocketResponse) -> dict[str, Any]:
    while True:
        received = dict(await socket.receive_json(timeout=PATIENCE_SECONDS))
        if received["type"] != "beat":
            return received


def commands(settings: config.Settings, directory: Path) -> Zmartd:
    """Runs an operator's command that has to exit with 0, and gives what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")} | {
        "ZMARTD_DATABASE_URL": settings.database.url.reveal(),
        "ZMARTD_REDIS_URL": settings.redis.url.reveal(),
        "ZMARTD_SOLANA_RPC_URL": settings.solana.rpc_url.reveal(),
        "ZMARTD_SOLANA_CLUSTER": settings.solana.cluster,
        "ZMARTD_SOLANA_PROGRAM_ID": settings.solana.program_id,
    }

    async def run(*arguments: str) -> str:
        ended = await run_command(arguments, environment, directory)
        assert ended.status == 0, ended
        return ended.output

    return run


async def a_life(world: World) -> str:
    """Markets in several states, with trades, votes and money; one of them, which is open."""
    disputed = await world.disputed(10**8, 2 * 10**8)
    await world.vote_on_dispute(disputed, True, False)
    await world.resolving(10**8)
    proposed = await world.proposal()
    await world.vote_on_proposal(proposed, 3, 1)
    market_id = await world.active()
    for holder in HOLDERS[:3]:
        await world.buy(market_id, holder)
    return market_id


async def test_a_lost_database_is_restored_elsewhere_and_every_client_learns_of_it(
    databases: None,
    postgres_server: PostgresServer,
    redis: Redis,
    redis_url: str,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    if pytestconfig.getoption("pooled"):
        pytest.skip("a backup needs a connection of its own")
    lost, elsewhere = map(postgres_server.dsn_of, (LOST, ELSEWHERE))
    await migrate(lost)
    database = await Database.connect(patient_database(lost))
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await a_life(world)
        rpc_url = world.own.rpc.endpoint
        before = settings_of(lost, redis_url, rpc_url)
        async with daemon.running(before):
            backed_up = json.loads(await commands(before, tmp_path)("backup", "night", "--json"))
            await world.buy(market_id, HOLDERS[0])
            async with client_of(before) as socket:
                await socket.send_json({"action": "subscribe", "market_id": market_id})
                known = await frame(socket)
        assert known["epoch"] == backed_up["epoch"]
        trades = await world.fetch(
            "select tx_signature, shares, cost from trades order by slot, tx_signature"
        )

        await database.close()
        await execute(postgres_server.dsn_of("postgres"), f"drop database {LOST} with (force)")
        await redis.flushall()

        after = settings_of(elsewhere, redis_url, rpc_url)
        zmartd = commands(after, tmp_path)
        restored = json.loads(await zmartd("restore", "night", "--json"))
        assert restored["rows"] == sum(backed_up["rows"].values())
        assert restored["epoch"] != backed_up["epoch"]
        await finalized(world)
        # A run that the daemon was in when it was backed up goes on for as long as its lease.
        while json.loads(await zmartd("tick", "reconciler", "--json"))[0]["skipped"]:
            pass
        audited = json.loads(await zmartd("audit", "--json"))
        assert (audited["differences"], audited["markets"]) == ([], 4)

        world.database = await Database.connect(patient_database(elsewhere))
        assert trades == await world.fetch(
            "select tx_signature, shares, cost from trades order by slot, tx_signature"
        )
        await world.database.close()
        async with daemon.running(after), client_of(after) as socket:
            since = {"epoch": known["epoch"], "seq": known["seq"]}
            await socket.send_json({"action": "subscribe", "market_id": market_id, "since": since})
            answer = await frame(socket)
        assert answer["epoch"] == restored["epoch"]
        assert answer["data"]["recovered"] is False
        assert answer["data"]["market"]["total_volume"] == known["data"]["market"]["total_volume"]
