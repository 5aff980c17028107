"""The complete system on one machine, with embedded servers: what `zmartd dev` and `zmartd demo` run."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from solders.pubkey import Pubkey

from zmartd import config, config_file, daemon
from zmartd.commands import dev_settings, instance
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.localnet.settings import WebhookTarget
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.stack import Stack
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.endpoint import reachable_url
from zmartd.errors import ZmartdError
from zmartd.private_file import write_private
from zmartd.store.schema import bring_up_to_date

AUTHORITY_LAMPORTS = 1_000 * 10**9
TREASURY_LAMPORTS = 10**9
ANY_FREE_PORT = 0

_KEPT_BY_RESET = frozenset({instance.MARKER, instance.LOCK, instance.SETTINGS, instance.LOCALNET})
_RUNNING_HEADER = f"""\
# What the running `zmartd dev` uses, for other commands. It is written anew at each start: change
# {instance.SETTINGS} instead.

"""


class PortInUse(ZmartdError):
    """Another process listens on this port."""

    code = "port_in_use"


@asynccontextmanager
async def running(
    directory: Path, settings: config.Settings, rpc_port: int, progress: Callable[[str], None]
) -> AsyncIterator[Stack]:
    """Run the complete system for the length of a block, with its data in `directory`.

    Ports that are 0, in `settings` as well, are any free ones. `progress` is called with each step of the
    start. Raises EmbeddedServerError, PortInUse, or the daemon's errors.
    """
    webhook_secret = settings.helius.authorization.reveal()
    authority = dev_settings.keypair(directory / dev_settings.AUTHORITY_FILE)
    treasury = dev_settings.keypair(directory / dev_settings.TREASURY_FILE)
    async with AsyncExitStack() as stack:
        server, operator = settings.server, settings.operator
        port, operator_port = _free_ports(
            ("--port", server.host, server.port), ("operator.port", operator.host, operator.port)
        )
        server, operator = (
            msgspec.structs.replace(server, port=port),
            msgspec.structs.replace(operator, port=operator_port),
        )
        progress("starting Postgres, Valkey and a Solana chain")
        postgres = EmbeddedPostgres(directory / "postgres")
        valkey = EmbeddedValkey(directory / "valkey")
        chain = EmbeddedChain(
            msgspec.structs.replace(
                chain_settings(directory / "chain", rpc_port),
                webhooks=(WebhookTarget(f"{server.url}/helius/webhook", (PROGRAM_ID,), webhook_secret),),
                genesis_accounts={
                    str(authority.pubkey()): AUTHORITY_LAMPORTS,
                    str(treasury.pubkey()): TREASURY_LAMPORTS,
                },
            )
        )
        await _start_together(stack, postgres, valkey, chain)
        rpc_url = chain.endpoints.rpc_url
        settings = msgspec.structs.replace(
            settings,
            server=server,
            operator=operator,
            solana=msgspec.structs.replace(settings.solana, rpc_url=RpcUrl(rpc_url)),
            database=msgspec.structs.replace(settings.database, url=PostgresUrl(postgres.dsn)),
            redis=config.RedisSettings(url=RedisUrl(valkey.url)),
        )
        progress("bringing the database up to date")
        await bring_up_to_date(postgres.dsn)
        progress("looking for the program's configuration")
        await initialize_program(rpc_url, Pubkey.from_string(PROGRAM_ID), authority, treasury.pubkey())
        configuration = directory / "zmartd.toml"
        write_private(configuration, _RUNNING_HEADER + config_file.to_toml(settings))
        progress("starting the daemon")
        await stack.enter_async_context(daemon.running(settings))
        yield Stack(
            api=server.url,
            ws=f"{reachable_url('ws', server.host, server.port)}/ws",
            operator=reachable_url("http", operator.host, operator.port),
            rpc=rpc_url,
            authority=directory / dev_settings.AUTHORITY_FILE,
            configuration=configuration,
        )


async def _start_together(stack: AsyncExitStack, *servers: AbstractAsyncContextManager[object]) -> None:
    """Start all servers at once. The first error is raised itself, when the others have stopped."""
    try:
        async with asyncio.TaskGroup() as starting:
            for server in servers:
                starting.create_task(stack.enter_async_context(server))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def reset(claim: instance.Claim) -> None:
    """Delete the data of earlier runs, and keep the developer's settings."""
    for path in claim.directory.iterdir():
        if path.name in _KEPT_BY_RESET:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _free_ports(*wanted: tuple[str, str, int]) -> list[int]:
    """The ports of what is wanted, each 0 replaced by a free port. Raises PortInUse.

    Each is wanted as the option or setting that decides it, the host, and the port.
    """
    with ExitStack() as probes:
        free = []
        for option, host, port in wanted:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = probes.enter_context(socket.socket(family))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise PortInUse(
                    f"port {port} is taken: stop what listens there, or choose another with {option}"
                ) from error
            free.append(probe.getsockname()[1])
        return free
