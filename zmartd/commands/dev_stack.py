"""The complete system on one machine, with embedded servers: what `zmartd dev` and `zmartd demo` run."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd import config, config_file, daemon
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, SharedSecret
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.localnet.settings import WebhookTarget
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.stack import Stack
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.errors import ZmartdError
from zmartd.private_file import write_private
from zmartd.store.schema import bring_up_to_date

AUTHORITY_LAMPORTS = 1_000 * 10**9
TREASURY_LAMPORTS = 10**9
MARKER = "zmartd-data"


class DataDirectoryInUse(ZmartdError):
    """`zmartd dev` did not make this directory, so it does not use it."""

    code = "data_directory_in_use"


class PortInUse(ZmartdError):
    """Another process listens on this port."""

    code = "port_in_use"


class StackOptions(Struct, frozen=True):
    """The data directory and ports of a development system; port 0 is any free one."""

    directory: Path
    port: int
    rpc_port: int


@asynccontextmanager
async def running(options: StackOptions, progress: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Run the complete system for the length of a block. `progress` is called with each step of the start.

    Raises EmbeddedServerError, DataDirectoryInUse, or the daemon's errors.
    """
    directory = _claim(options.directory)
    authority = _keypair(directory / "authority.json")
    treasury = _keypair(directory / "treasury.json")
    webhook_secret = _secret(directory / "webhook-secret")
    async with AsyncExitStack() as stack:
        port, operator_port = _free_ports(options.port, 0)
        progress("starting Postgres, Valkey and a Solana chain")
        postgres = EmbeddedPostgres(directory / "postgres")
        valkey = EmbeddedValkey(directory / "valkey")
        chain = EmbeddedChain(
            msgspec.structs.replace(
                chain_settings(directory / "chain", options.rpc_port),
                webhooks=(
                    WebhookTarget(f"http://127.0.0.1:{port}/helius/webhook", (PROGRAM_ID,), webhook_secret),
                ),
                genesis_accounts={
                    str(authority.pubkey()): AUTHORITY_LAMPORTS,
                    str(treasury.pubkey()): TREASURY_LAMPORTS,
                },
            )
        )
        await _start_together(stack, postgres, valkey, chain)
        settings = msgspec.structs.replace(
            _settings(directory, port, operator_port, chain.endpoints.rpc_url, webhook_secret),
            database=config.DatabaseSettings(url=PostgresUrl(postgres.dsn)),
            redis=config.RedisSettings(url=RedisUrl(valkey.url)),
        )
        progress("bringing the database up to date")
        await bring_up_to_date(postgres.dsn)
        progress("looking for the program's configuration")
        await initialize_program(
            chain.endpoints.rpc_url, Pubkey.from_string(PROGRAM_ID), authority, treasury.pubkey()
        )
        write_private(directory / "zmartd.toml", config_file.to_toml(settings))
        progress("starting the daemon")
        await stack.enter_async_context(daemon.running(settings))
        yield Stack(
            api=f"http://127.0.0.1:{port}",
            ws=f"ws://127.0.0.1:{port}/ws",
            operator=f"http://127.0.0.1:{operator_port}",
            rpc=chain.endpoints.rpc_url,
            authority=directory / "authority.json",
        )


async def _start_together(stack: AsyncExitStack, *servers: AbstractAsyncContextManager[object]) -> None:
    """Start all servers at once. The first error is raised itself, when the others have stopped."""
    try:
        async with asyncio.TaskGroup() as starting:
            for server in servers:
                starting.create_task(stack.enter_async_context(server))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def reset(directory: Path) -> None:
    """Delete the data of earlier runs. Raises DataDirectoryInUse for a directory that is not zmartd's."""
    if directory.exists():
        _claim(directory)
        shutil.rmtree(directory)


def _claim(directory: Path) -> Path:
    """Create the data directory, or check that it is one."""
    marker = directory / MARKER
    if directory.exists() and not marker.exists() and any(directory.iterdir()):
        raise DataDirectoryInUse(
            f"{directory} contains other files than zmartd's data: give --data-dir an empty or new directory"
        )
    # The embedded Postgres may run as another user, who has to enter it.
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    marker.touch()
    return directory


def sign_in_domains(port: int) -> tuple[str, ...]:
    """The default domains and the API's names on this machine, each once."""
    return tuple(dict.fromkeys((*config.AuthSettings().domains, f"127.0.0.1:{port}", f"localhost:{port}")))


def _settings(
    directory: Path, port: int, operator_port: int, rpc_url: str, webhook_secret: str
) -> config.Settings:
    """The defaults, with short intervals and large limits for one machine."""
    return config.Settings(
        server=config.ServerSettings(port=port, environment="development", max_connections_per_ip=10_000),
        operator=config.OperatorSettings(port=operator_port),
        solana=config.SolanaSettings(
            rpc_url=RpcUrl(rpc_url),
            cluster="localnet",
            authority_keypair_path=str(directory / "authority.json"),
        ),
        helius=config.HeliusSettings(authorization=SharedSecret(webhook_secret)),
        auth=config.AuthSettings(
            jwt_secret=SharedSecret(_secret(directory / "jwt-secret")),
            domains=sign_in_domains(port),
        ),
        rate_limits=config.RateLimitSettings(
            ip_per_minute=100_000,
            ip_per_hour=1_000_000,
            wallet_per_minute=100_000,
            wallet_per_hour=1_000_000,
            signed_in_ip_per_minute=100_000,
            signed_in_ip_per_hour=1_000_000,
            comments_per_hour=1_000_000,
            kept_answers_per_hour=1_000_000,
        ),
        realtime=config.RealtimeSettings(max_connections_per_ip=1_000),
        voting=config.VotingSettings(min_proposal_votes=3, proposal_min_balance_lamports=0, veto_seconds=0),
        tasks=config.TaskSettings(
            vote_aggregator=config.VoteAggregatorSettings(interval_seconds=1.5),
            market_monitor=config.MarketMonitorSettings(interval_seconds=1.5),
            reconciler=config.ReconcilerSettings(interval_seconds=10.0),
            leaderboard=config.LeaderboardSettings(interval_seconds=2.0),
        ),
        log=config.LogSettings(level="warning", format="console"),
    )


def _keypair(file: Path) -> Keypair:
    """The keypair in a file as solana-keygen writes it; the file is made if missing."""
    if not file.exists():
        write_private(file, Keypair().to_json())
    return Keypair.from_json(file.read_text())


def _secret(file: Path) -> str:
    """The random secret in a file, which is made if missing."""
    if not file.exists():
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def _free_ports(*ports: int) -> list[int]:
    """`ports`, each 0 replaced by a free port. Raises PortInUse."""
    with ExitStack() as probes:
        free = []
        for port in ports:
            probe = probes.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise PortInUse(
                    f"port {port} is taken: stop what listens there, or choose another --port"
                ) from error
            free.append(probe.getsockname()[1])
        return free
