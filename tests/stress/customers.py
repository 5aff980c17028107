"""People who trade through the daemon's API, and do not give up when it goes away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import aiohttp
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.embedded.demo.signing import sign_call
from zmartd.embedded.demo.wallet_client import ApiRefused, WalletClient
from zmartd.market.lmsr import SCALE

PAUSE_SECONDS = 0.15
TIMEOUT_SECONDS = 8.0
ANSWERS_AWAITED = 20
"""So often the same signed transaction is handed in until the daemon says what became of it."""

_UNAUTHORIZED = 401


class Customer:
    """Buys on markets that trade. What it has signed it hands in again and again, until it is answered."""

    def __init__(
        self,
        wallet: Keypair,
        session: aiohttp.ClientSession,
        api: str,
        program_id: Pubkey,
        rng: random.Random,
    ) -> None:
        self._wallet = wallet
        self._program_id = program_id
        self._trader = WalletClient("a customer", wallet, session, api, program_id)
        self._rng = rng
        self._going = asyncio.Event()
        self.answered = 0

    def go(self) -> None:
        self._going.set()

    def rest(self) -> None:
        self._going.clear()

    async def live(self, markets: Callable[[], Sequence[str]]) -> None:
        """Never returns. `markets` gives the ids of those that may be traded."""
        signed_in = False
        while True:
            await self._going.wait()
            try:
                if not signed_in:
                    await self._trader.sign_in()
                    signed_in = True
                if known := markets():
                    await self._buy(self._rng.choice(known))
            except ApiRefused as refused:
                signed_in = refused.status != _UNAUTHORIZED
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(PAUSE_SECONDS)

    async def _buy(self, market_id: str) -> None:
        order = {
            "market_id": market_id,
            "outcome": self._rng.random() < 0.5,
            "target_cost": str(self._rng.randrange(SCALE // 20, 3 * SCALE)),
        }
        quoted = await self._trader.post("/api/trades/buy", order)
        signed = sign_call(quoted["transaction"], self._wallet, self._program_id)
        to_send = {"transaction": signed, "protection": quoted["protection"]}
        for _ in range(ANSWERS_AWAITED):
            try:
                answer = await self._trader.post("/api/transactions", to_send)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if "events" in answer:
                self.answered += 1
                return
