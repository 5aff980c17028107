"""`zmartd airdrop` and `zmartd travel`: what a development chain gives, and its clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result
from zmartd.commands.parameters import LAMPORTS_PER_SOL, lamports_of_sol, seconds_of_duration, wallet_address
from zmartd.commands.running import run
from zmartd.errors import ZmartdError

if TYPE_CHECKING:
    from zmartd.chain.rpc import Rpc
    from zmartd.config import Settings
    from zmartd.embedded.demo.localnet_client import LocalnetClient

T = TypeVar("T")

_DEVELOPMENT_CHAIN = (
    "Start `zmartd dev` in this folder, which runs a development chain, or name its zmartd.toml with --config"
)


class NotOnThisCluster(ZmartdError):
    """The configured chain does not offer this."""

    code = "not_on_this_cluster"


@click.command()
@click.argument("wallet", metavar="WALLET", callback=wallet_address)
@click.argument("lamports", metavar="SOL", callback=lamports_of_sol)
@config_option
@json_option
def airdrop(wallet: str, lamports: int, config_path: Path | None, as_json: bool) -> None:
    """Give WALLET, an address or a keypair file, SOL from the chain's faucet, as much as SOL says.

    The chain of `zmartd dev` gives what it is asked for; devnet and testnet give little and seldom.
    """
    settings = operator_settings(config_path)
    if settings.solana.cluster == "mainnet":
        raise NotOnThisCluster(f"solana.cluster is mainnet, which gives no SOL away. {_DEVELOPMENT_CHAIN}")

    async def fund(rpc: Rpc, chain: LocalnetClient) -> int:
        await chain.fund([wallet], lamports)
        [balance] = await chain.balances([wallet])
        return balance

    balance = run(lambda: _on_chain(settings, fund))
    result = {"wallet": wallet, "lamports": str(lamports), "balance": str(balance)}
    print_result(as_json, result, f"{wallet} has {_sol(balance)} SOL now")


@click.command()
@click.argument("seconds", metavar="DURATION", callback=seconds_of_duration)
@config_option
@json_option
def travel(seconds: int, config_path: Path | None, as_json: bool) -> None:
    """Move the clock of a development chain forward by DURATION: 72h, 2d, 90m, 30s or 1d12h.

    Deadlines that pass are passed for every market on the chain; tasks notice it in their next run. There is
    no way back, except `zmartd dev --reset`.
    """
    from zmartd.embedded.demo.localnet_client import ChainRefused
    from zmartd.embedded.demo.polling import wait_for
    from zmartd.market.iso_time import iso_time

    settings = operator_settings(config_path)
    cluster = settings.solana.cluster
    if cluster != "localnet":
        raise NotOnThisCluster(
            f"solana.cluster is {cluster}, where time passes by itself. {_DEVELOPMENT_CHAIN}"
        )

    async def move(rpc: Rpc, chain: LocalnetClient) -> tuple[int, int]:
        before = (await rpc.chain_time()).unix_timestamp
        try:
            await chain.travel(before + seconds)
        except ChainRefused as refused:
            raise NotOnThisCluster(
                f"the chain at {rpc.endpoint} does not travel ({refused.message}). {_DEVELOPMENT_CHAIN}"
            ) from refused

        async def arrived() -> int | None:
            now = (await rpc.chain_time()).unix_timestamp
            return now if now >= before + seconds else None

        return before, await wait_for(arrived, "the chain's clock did not move")

    before, after = (_time(one) for one in run(lambda: _on_chain(settings, move)))
    result = {"seconds": seconds, "before": iso_time(before), "now": iso_time(after)}
    print_result(as_json, result, f"on the chain it is {after:%Y-%m-%d %H:%M:%S} UTC now")


async def _on_chain(settings: Settings, work: Callable[[Rpc, LocalnetClient], Awaitable[T]]) -> T:
    """Run `work` with clients of the configured chain. Raises RpcUnavailable when nobody answers there."""
    from aiohttp import ClientError, ClientSession, ClientTimeout

    from zmartd.chain.rpc import Rpc
    from zmartd.chain.transport import RpcUnavailable
    from zmartd.clock import SystemClock
    from zmartd.embedded.demo.localnet_client import LocalnetClient

    url, timeout_seconds = settings.solana.rpc_url.reveal(), settings.solana.timeout_seconds
    async with (
        Rpc(url, clock=SystemClock(), timeout_seconds=timeout_seconds) as rpc,
        ClientSession(timeout=ClientTimeout(timeout_seconds)) as session,
    ):
        try:
            await rpc.version()
            return await work(rpc, LocalnetClient(session, url))
        except RpcUnavailable as error:
            raise RpcUnavailable(f"{error.message}. {_DEVELOPMENT_CHAIN}") from error
        except (ClientError, TimeoutError) as error:
            raise RpcUnavailable(f"the Solana RPC at {rpc.endpoint} does not answer") from error


def _time(unix_seconds: int) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


def _sol(lamports: int) -> str:
    """An amount in SOL, exactly, without zeros at its end."""
    return f"{Decimal(lamports) / LAMPORTS_PER_SOL:f}"
