"""The behaviour of one simulated trader."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from zmartd.embedded.demo.wallet_client import WalletClient
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE

NEWEST_MARKETS = "20"
"""Traders ignore older markets, so that failed proposals make room for others in the end."""
OPEN_MARKETS = 4
MATURE_TRADES = 30

PROPOSING, RESOLVING, DISPUTING, SELLING = 0.3, 0.02, 0.02, 0.4
"""The probability of each, where it is possible."""
LIKING, BEING_RIGHT, BUYING_YES = 0.9, 0.9, 0.55

QUESTIONS = (
    ("crypto", "Will SOL close the week above where it opened?"),
    ("sports", "Will the home team win the final?"),
    ("science", "Will the next launch reach orbit at its first attempt?"),
    ("politics", "Will the budget pass before the end of the month?"),
    ("technology", "Will the new release need no security fix within ten days?"),
    ("entertainment", "Will the sequel earn more on its first weekend than the original?"),
    ("finance", "Will the central bank leave the rate where it is?"),
    ("other", "Will it rain in the capital on Sunday?"),
)

Row = Mapping[str, Any]
"""A market or a position as the API shows it."""


class SimulatedTrader:
    """Claims what it won, moves its own markets along, votes once on each market, and otherwise trades."""

    def __init__(
        self, client: WalletClient, rng: random.Random, chain_time: Callable[[], Awaitable[datetime]]
    ) -> None:
        self._client = client
        self._rng = rng
        self._chain_time = chain_time
        self._voted: set[tuple[str, str]] = set()

    async def act(self) -> None:
        """Do one thing, or nothing. Raises ApiRefused, also when another wallet was faster."""
        positions: Sequence[Row] = await self._client.get(f"/api/users/{self._client.address}/positions")
        for position in positions:
            if int(position["claimable"]):
                await self._client.transact(f"/api/markets/{position['market_id']}/claim")
                return
        markets: Sequence[Row] = (await self._client.get("/api/markets", limit=NEWEST_MARKETS))["markets"]
        if await self._advance_markets(markets) or await self._vote(markets):
            return
        open_markets = [market for market in markets if market["state"] in {"APPROVED", "ACTIVE"}]
        if len(open_markets) < OPEN_MARKETS and self._chance(PROPOSING):
            await self._propose()
        elif active := [market for market in open_markets if market["state"] == "ACTIVE"]:
            await self._trade(self._rng.choice(active), positions)

    async def _advance_markets(self, markets: Sequence[Row]) -> bool:
        """Activate or resolve one of its own markets, or dispute another's; whether there was one."""
        for market in markets:
            mine = market["creator_wallet"] == self._client.address
            path = f"/api/markets/{market['id']}"
            match market["state"]:
                case "APPROVED" if mine:
                    await self._client.transact(f"{path}/activate")
                    return True
                case "ACTIVE" if mine and market["trades_count"] >= MATURE_TRADES and self._chance(RESOLVING):
                    await self._client.transact(f"{path}/resolve", self._resolution(market))
                    return True
                case "RESOLVING" if not mine and self._chance(DISPUTING):
                    await self._client.transact(f"{path}/dispute")
                    return True
        return False

    async def _vote(self, markets: Sequence[Row]) -> bool:
        """Vote on the first market that it has not voted on; whether there was one."""
        kinds = {"PROPOSED": "proposal", "DISPUTED": "dispute"}
        for market in markets:
            kind = kinds.get(market["state"])
            if kind is None or (market["id"], kind) in self._voted:
                continue
            # A refusal is final: it voted before a restart, or the count has begun.
            self._voted.add((market["id"], kind))
            vote = {"market_id": market["id"], "vote": self._chance(LIKING)}
            await self._client.post(f"/api/votes/{kind}", vote)
            return True
        return False

    async def _propose(self) -> None:
        category, question = self._rng.choice(QUESTIONS)
        now = await self._chain_time()
        proposal = {
            "question": f"{question} (asked {now:%d %b %H:%M:%S})",
            "category": category,
            "end_date": iso_time(now + timedelta(days=self._rng.randint(2, 60))),
            "initial_liquidity": self._rng.randint(5, 50) * SCALE,
        }
        await self._client.transact("/api/markets", proposal)

    async def _trade(self, market: Row, positions: Sequence[Row]) -> None:
        order = {"market_id": market["id"], "outcome": self._chance(BUYING_YES)}
        side = "shares_yes" if order["outcome"] else "shares_no"
        held = sum(int(one[side]) for one in positions if one["market_id"] == market["id"])
        if held > SCALE and self._chance(SELLING):
            shares = held // self._rng.randint(2, 5)
            await self._client.transact("/api/trades/sell", {**order, "shares": str(shares)})
            return
        budget_lamports = self._rng.randint(SCALE // 50, 3 * SCALE)
        await self._client.transact("/api/trades/buy", {**order, "target_cost": str(budget_lamports)})

    def _resolution(self, market: Row) -> dict[str, Any]:
        likely = market["price_yes"] >= 0.5
        return {
            "outcome": likely if self._chance(BEING_RIGHT) else not likely,
            "ipfs_evidence_hash": cid_v0(f"evidence for {market['id']}".encode()),
        }

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability
