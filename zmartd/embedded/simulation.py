"""Wallets that propose, vote and trade for as long as the system runs, so that there is life to look at."""

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
from zmartd.embedded.demo.localnet_client import LocalChain
from zmartd.embedded.demo.wallet_client import ApiRefused, Trader
from zmartd.embedded.simulated_trader import Actor
from zmartd.embedded.stack import Stack
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.market.lmsr import SCALE
from zmartd.private_file import write_private

WALLETS_FILE = "actors.json"
ACTORS = 6
POOR_LAMPORTS = 1_000 * SCALE
ALLOWANCE_LAMPORTS = 10_000 * SCALE
PAUSE_SECONDS = (1.0, 5.0)
RETRY_SECONDS = 3.0
TIMEOUT_SECONDS = 60.0
_UNAUTHORIZED = 401

log = get_logger(__name__)


class UnreadableWallets(ZmartdError):
    """The file with the actors' wallets cannot be read."""

    code = "unreadable_wallets"


async def keep_trading(stack: Stack, stop: asyncio.Event) -> None:
    """Let the wallets live until `stop` is set: what goes wrong is shrugged off, a lost session is renewed.

    Their keys are kept beside the authority's, so that the same wallets go on after a restart. Raises
    UnreadableWallets.
    """
    wallets = read_wallets(stack.authority.with_name(WALLETS_FILE))
    async with (
        ClientSession(timeout=ClientTimeout(TIMEOUT_SECONDS)) as session,
        Rpc(stack.rpc, clock=SystemClock()) as rpc,
    ):
        lives = [
            asyncio.create_task(_live(number, wallet, stack, session, rpc))
            for number, wallet in enumerate(wallets, 1)
        ]
        await stop.wait()
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


def read_wallets(file: Path) -> list[Keypair]:
    """The same wallets at every start, made at the first. Raises UnreadableWallets."""
    if not file.exists():
        fresh = [str(Keypair()) for _ in range(ACTORS)]
        write_private(file, msgspec.json.encode(fresh).decode())
    try:
        secrets = msgspec.json.decode(file.read_bytes(), type=list[str])
        return [Keypair.from_base58_string(secret) for secret in secrets]
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableWallets(
            f"{file} is not a list of secret keys any more; delete it, and new wallets will act"
        ) from error


async def _live(number: int, wallet: Keypair, stack: Stack, session: ClientSession, rpc: Rpc) -> None:
    """Sessions one after the other, for ever."""
    rng = random.Random(number)  # noqa: S311 - a temperament, not a secret
    chain = LocalChain(session, stack.rpc)
    trader = Trader(f"actor {number}", wallet, session, stack.api, default_idl().program_id)

    async def chain_time() -> datetime:
        return datetime.fromtimestamp((await rpc.chain_time()).unix_timestamp, UTC)

    actor = Actor(trader, rng, chain_time)
    while True:
        try:
            (lamports,) = await chain.balances([trader.address])
            if lamports < POOR_LAMPORTS:
                await chain.fund([wallet], ALLOWANCE_LAMPORTS)
            await trader.sign_in()
            await _act_while_signed_in(actor, trader.name, rng)
        except (ZmartdError, ClientError, TimeoutError) as error:
            log.debug("actor.interrupted", actor=trader.name, reason=str(error))
        except Exception:
            log.warning("actor.stumbled", actor=trader.name, exc_info=True)
        await asyncio.sleep(RETRY_SECONDS)


async def _act_while_signed_in(actor: Actor, name: str, rng: random.Random) -> None:
    """One act after the other at a human pace. Raises ApiRefused when the session is over."""
    while True:
        await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))
        try:
            await actor.act()
        except ApiRefused as refused:
            if refused.status == _UNAUTHORIZED:
                raise
            log.debug("actor.refused", actor=name, reason=refused.message)
