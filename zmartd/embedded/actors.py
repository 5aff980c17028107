"""Wallets that propose, vote and trade for as long as the system runs, so that there is life to look at."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from solders.keypair import Keypair

from zmartd.chain.idl import default_idl
from zmartd.embedded.demo.chain import ChainRefused, LocalChain
from zmartd.embedded.demo.trader import ApiRefused, Trader
from zmartd.embedded.stack import Stack
from zmartd.log import get_logger
from zmartd.market.lmsr import SCALE

WALLETS_FILE = "traders.json"
TRADERS = 6
OPEN_MARKETS = 5
STARTING_LAMPORTS = 10_000 * SCALE
PAUSE_SECONDS = (0.4, 2.5)
RETRY_SECONDS = 5.0

QUESTIONS = (
    ("crypto", "Will SOL close the week above where it opened?"),
    ("sports", "Will the home team win the final?"),
    ("science", "Will the next launch reach orbit at its first attempt?"),
    ("politics", "Will the budget pass before the end of the month?"),
    ("technology", "Will the new release ship without a security fix within ten days?"),
    ("entertainment", "Will the sequel earn more on its first weekend than the original?"),
    ("finance", "Will the central bank leave the rate where it is?"),
    ("other", "Will it rain in the capital on Sunday?"),
)

log = get_logger(__name__)


async def keep_trading(stack: Stack, stop: asyncio.Event) -> None:
    """Let the wallets live until `stop` is set. Their keys are kept beside the authority's."""
    wallets = _wallets(stack.authority.with_name(WALLETS_FILE))
    async with ClientSession(timeout=ClientTimeout(60)) as session:
        await LocalChain(session, stack.rpc).fund(wallets, STARTING_LAMPORTS)
        program_id = default_idl().program_id
        lives = [
            asyncio.create_task(
                _live(Trader(f"actor {number}", wallet, session, stack.api, program_id), number)
            )
            for number, wallet in enumerate(wallets)
        ]
        await stop.wait()
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


async def _live(actor: Trader, number: int) -> None:
    """One wallet's life: what goes wrong is shrugged off, a lost session is renewed."""
    rng = random.Random(number)  # noqa: S311 - a temperament, not a secret
    while True:
        try:
            await actor.sign_in()
            while True:
                await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))
                await _act(actor, rng)
        except (ApiRefused, ChainRefused, ClientError, TimeoutError) as error:
            log.debug("actor.refused", actor=actor.name, reason=str(error))
            await asyncio.sleep(
                rng.uniform(*PAUSE_SECONDS) + (0 if isinstance(error, ApiRefused) else RETRY_SECONDS)
            )


async def _act(actor: Trader, rng: random.Random) -> None:
    markets: Sequence[dict[str, Any]] = (await actor.get("/api/markets", limit="50"))["markets"]
    living = [market for market in markets if market["state"] in {"PROPOSED", "APPROVED", "ACTIVE"}]
    if len(living) < OPEN_MARKETS:
        await _propose(actor, rng)
        return
    market = rng.choice(living)
    match market["state"]:
        case "PROPOSED":
            vote = {"market_id": market["id"], "vote": rng.random() < 0.9}
            await actor.post("/api/votes/proposal", vote)
        case "APPROVED" if market["creator_wallet"] == actor.address:
            await actor.carry_out(f"/api/markets/{market['id']}/activate")
        case "ACTIVE":
            await _trade(actor, market["id"], rng)


async def _propose(actor: Trader, rng: random.Random) -> None:
    category, question = rng.choice(QUESTIONS)
    now = datetime.now(UTC)
    proposal = {
        "question": f"{question} ({now:%d %b %H:%M:%S})",
        "category": category,
        "end_date": (now + timedelta(days=rng.randint(2, 60))).isoformat(),
        "initial_liquidity": rng.randint(5, 50) * SCALE,
    }
    await actor.carry_out("/api/markets", proposal)


async def _trade(actor: Trader, market_id: str, rng: random.Random) -> None:
    order: dict[str, Any] = {"market_id": market_id, "outcome": rng.random() < 0.55}
    held = 0
    for position in await actor.get(f"/api/users/{actor.address}/positions"):
        if position["market_id"] == market_id:
            held = int(position["shares_yes" if order["outcome"] else "shares_no"])
    if held > SCALE and rng.random() < 0.4:
        await actor.carry_out("/api/trades/sell", {**order, "shares": str(held // rng.randint(2, 5))})
    else:
        budget = rng.randint(SCALE // 50, 3 * SCALE)
        await actor.carry_out("/api/trades/buy", {**order, "target_cost": str(budget)})


def _wallets(file: Path) -> list[Keypair]:
    """The same wallets at every start, made at the first."""
    if not file.exists():
        fresh = [str(Keypair()) for _ in range(TRADERS)]
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(fresh))
    return [
        Keypair.from_base58_string(text) for text in msgspec.json.decode(file.read_bytes(), type=list[str])
    ]
