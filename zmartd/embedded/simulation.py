"""Simulated wallets that propose, vote and trade for as long as the development system runs."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from solders.keypair import Keypair

from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.wallet_client import ApiRefused, WalletClient
from zmartd.embedded.simulated_trader import SimulatedTrader
from zmartd.embedded.stack import Stack
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.market.lmsr import SCALE
from zmartd.private_file import write_private

WALLETS_FILE = "actors.json"
TRADERS = 6
POOR_LAMPORTS = 1_000 * SCALE
ALLOWANCE_LAMPORTS = 10_000 * SCALE
PAUSE_SECONDS = (1.0, 5.0)
RETRY_SECONDS = 3.0
TIMEOUT_SECONDS = 60.0
_UNAUTHORIZED = 401

log = get_logger(__name__)


class UnreadableWallets(ZmartdError):
    """The file with the simulated traders' wallets cannot be read."""

    code = "unreadable_wallets"


async def simulate_trading(stack: Stack, stop: asyncio.Event) -> None:
    """Let the wallets act until `stop` is set. Failures are logged, and an expired session is renewed.

    Their keys are kept beside the authority's, so that a restart continues with the same wallets. Raises
    UnreadableWallets.
    """
    wallets = read_wallets(stack.authority.with_name(WALLETS_FILE))
    async with (
        ClientSession(timeout=ClientTimeout(TIMEOUT_SECONDS)) as session,
        Rpc(stack.rpc, clock=SystemClock()) as rpc,
    ):
        tasks = [
            asyncio.create_task(_simulate(number, wallet, stack, session, rpc))
            for number, wallet in enumerate(wallets, 1)
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def read_wallets(file: Path) -> list[Keypair]:
    """The wallets in `file`, created at the first start. Raises UnreadableWallets."""
    if not file.exists():
        fresh = [str(Keypair()) for _ in range(TRADERS)]
        write_private(file, msgspec.json.encode(fresh).decode())
    try:
        secrets = msgspec.json.decode(file.read_bytes(), type=list[str])
        return [Keypair.from_base58_string(secret) for secret in secrets]
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableWallets(
            f"{file} is not a list of secret keys: delete it, and new wallets are made"
        ) from error


async def _simulate(number: int, wallet: Keypair, stack: Stack, session: ClientSession, rpc: Rpc) -> None:
    """Fund the wallet, sign in and act, again after each failure, without end."""
    rng = random.Random(number)  # noqa: S311 - no secret
    chain = LocalnetClient(session, stack.rpc)
    client = WalletClient(f"actor {number}", wallet, session, stack.api, default_idl().program_id)

    async def chain_time() -> datetime:
        return datetime.fromtimestamp((await rpc.chain_time()).unix_timestamp, UTC)

    trader = SimulatedTrader(client, rng, chain_time)
    while True:
        try:
            (lamports,) = await chain.balances([client.address])
            if lamports < POOR_LAMPORTS:
                await chain.fund([client.address], ALLOWANCE_LAMPORTS)
            await client.sign_in()
            await _act_while_signed_in(trader, client.name, rng)
        except (ZmartdError, ClientError, TimeoutError) as error:
            log.debug("actor.interrupted", actor=client.name, reason=str(error))
        except Exception:
            log.warning("actor.stumbled", actor=client.name, exc_info=True)
        await asyncio.sleep(RETRY_SECONDS)


async def _act_while_signed_in(trader: SimulatedTrader, name: str, rng: random.Random) -> None:
    """Act again and again at a human pace. Raises ApiRefused when the session has expired."""
    while True:
        await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))
        try:
            await trader.act()
        except ApiRefused as refused:
            if refused.status == _UNAUTHORIZED:
                raise
            log.debug("actor.refused", actor=name, reason=refused.message)
