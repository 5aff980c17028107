"""The servers around a daemon that is measured, its listener, and second processes."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from zmartd import config, daemon
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, SharedSecret
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES
from zmartd.store.postgres.migrations import migrate
from zmartd.task_settings import (
    AuditorSettings,
    LeaderboardSettings,
    MarketMonitorSettings,
    ReconcilerSettings,
    StreamRetentionSettings,
    TaskSettings,
    VoteAggregatorSettings,
)

AUTHORIZATION = "the value that helius echoes: 9d1b0f6a"
CONNECTIONS = 272
"""The most connections of the one address from which all come: more than a bench opens."""


class HistorySize(Struct, frozen=True):
    """The synthetic node's, as `bench.synthetic_history` makes it; no webhook brought `missed` of it."""

    seed: int
    markets: int
    wallets: int
    missed: int = 0


class Servers(Struct, frozen=True):
    """Postgres with an empty schema, and the settings of a daemon on these servers."""

    postgres: EmbeddedPostgres
    settings: config.Settings


@asynccontextmanager
async def servers(directory: Path, history: HistorySize) -> AsyncIterator[Servers]:
    """Postgres (every commit on disk), Valkey, and a synthetic Solana node in a second process."""
    size = (history.seed, history.markets, history.wallets, history.missed)
    async with (
        EmbeddedPostgres(directory / "postgres") as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
        second_process("bench.synthetic_node", *map(str, size)) as node,
    ):
        await migrate(postgres.dsn)
        assert node.stdout is not None
        yield Servers(postgres, settings_of(postgres.dsn, valkey.url, int(await node.stdout.readline())))


@asynccontextmanager
async def second_process(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def listening(app: web.Application, backlog: int = 128) -> AsyncIterator[int]:
    """Serve an application, the daemon's with the daemon's own server; its port."""
    if keys.SERVER in app:
        limits = daemon.connection_limits(app[keys.SERVER], app[TRUSTED_PROXIES])
        runner: web.AppRunner = daemon.runner_of(app, app[keys.SERVER], limits)
    else:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=backlog).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def settings_of(dsn: str, redis_url: str, rpc_port: int) -> config.Settings:
    """The settings of a daemon without periodic tasks, on these servers."""
    return config.Settings(
        server=config.ServerSettings(environment="development", max_connections_per_ip=CONNECTIONS),
        database=config.DatabaseSettings(url=PostgresUrl(dsn)),
        redis=config.RedisSettings(url=RedisUrl(redis_url)),
        solana=config.SolanaSettings(rpc_url=RpcUrl(f"http://127.0.0.1:{rpc_port}"), cluster="localnet"),
        helius=config.HeliusSettings(authorization=SharedSecret(AUTHORIZATION)),
        auth=config.AuthSettings(jwt_secret=SharedSecret(secrets.token_hex(32))),
        tasks=TaskSettings(
            vote_aggregator=VoteAggregatorSettings(enabled=False),
            market_monitor=MarketMonitorSettings(enabled=False),
            reconciler=ReconcilerSettings(enabled=False),
            leaderboard=LeaderboardSettings(enabled=False),
            auditor=AuditorSettings(enabled=False),
            stream_retention=StreamRetentionSettings(enabled=False),
        ),
        rate_limits=config.AMPLE_RATE_LIMITS,
        log=config.LogSettings(level="warning"),
    )
