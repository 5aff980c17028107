"""Simulated wallets that propose, vote and trade for as long as the development system runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from solders.keypair import Keypair

from zmartd import config_file
from zmartd.chain.idl import default_idl
from zmartd.chain.program_accounts import read_config
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.wallet_client import ApiRefused, WalletClient
from zmartd.embedded.happening import Tell
from zmartd.embedded.simulated_markets import SimulatedMarkets
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
ADVANCE_SECONDS = 1.0
TIMEOUT_SECONDS = 60.0
_UNAUTHORIZED = 401

log = get_logger(__name__)


class UnreadableWallets(ZmartdError):
    """The file with the simulated traders' wallets cannot be read."""

    code = "unreadable_wallets"


async def simulate_trading(stack: Stack, stop: asyncio.Event, tell: Tell) -> None:
    """Let the wallets act until `stop` is set, and `tell` what happens. They touch only their own markets.

    Failures are logged, and an expired session is renewed. The keys are kept beside the authority's, so that
    a restart continues with the same wallets. Raises UnreadableWallets, RpcUnavailable.
    """
    wallets = read_wallets(stack.authority.with_name(WALLETS_FILE))
    settings = config_file.load(stack.configuration, {})
    authority = Keypair.from_json(stack.authority.read_text())
    clock = SystemClock()
    async with (
        ClientSession(timeout=ClientTimeout(TIMEOUT_SECONDS)) as session,
        Rpc(stack.rpc, clock=clock) as rpc,
    ):
        program_id = default_idl().program_id
        chain = LocalnetClient(session, stack.rpc)
        dispute_period = (await read_config(rpc, program_id)).dispute_period
        monitor = settings.tasks.market_monitor
        undisputed = max(dispute_period, monitor.finalization_delay_seconds) + monitor.safety_margin_seconds
        admin = WalletClient("the admin", authority, session, stack.api, program_id)
        markets = SimulatedMarkets(
            wallets=[str(wallet.pubkey()) for wallet in wallets],
            admin=admin,
            rpc=rpc,
            chain=chain,
            windows={
                "RESOLVING": timedelta(seconds=undisputed + 1),
                "DISPUTED": timedelta(seconds=dispute_period + 1),
            },
            clock=clock,
            tell=tell,
        )

        async def chain_time() -> datetime:
            return datetime.fromtimestamp((await rpc.chain_time()).unix_timestamp, UTC)

        traders = []
        for number, wallet in enumerate(wallets, 1):
            client = WalletClient(f"trader {number}", wallet, session, stack.api, program_id)
            rng = random.Random(number)  # noqa: S311 - no secret
            trader = SimulatedTrader(client, rng, chain_time, lambda: markets.rows, tell)
            traders.append(asyncio.create_task(_simulate(trader, client, rng, chain)))
        tasks = [asyncio.create_task(_advance(markets, admin)), *traders]
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


async def _simulate(
    trader: SimulatedTrader, client: WalletClient, rng: random.Random, chain: LocalnetClient
) -> None:
    """Fund the wallet, sign in and act, again after each failure, without end."""

    async def live() -> None:
        (lamports,) = await chain.balances([client.address])
        if lamports < POOR_LAMPORTS:
            await chain.fund([client.address], ALLOWANCE_LAMPORTS)
        await client.sign_in()
        await _act_while_signed_in(trader, client.name, rng)

    await _again_and_again(client.name, live)


async def _advance(markets: SimulatedMarkets, admin: WalletClient) -> None:
    """Sign the admin in and move the markets on, again after each failure, without end."""

    async def live() -> None:
        await admin.sign_in()
        while True:
            await markets.advance()
            await asyncio.sleep(ADVANCE_SECONDS)

    await _again_and_again(admin.name, live)


async def _again_and_again(name: str, live: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await live()
        except (ZmartdError, ClientError, TimeoutError) as error:
            log.debug("simulation.interrupted", who=name, reason=str(error))
        except Exception:
            log.warning("simulation.stumbled", who=name, exc_info=True)
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
            log.debug("simulation.refused", who=name, reason=refused.message)
