"""One wallet's habits: what it does when it is its turn."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from zmartd.embedded.demo.wallet_client import Trader
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE

NEWEST_MARKETS = "20"
"""Older ones are history to an actor, so that a proposal that failed makes room for others in the end."""
OPEN_MARKETS = 4
MATURE_TRADES = 30

PROPOSING, RESOLVING, DISPUTING, SELLING = 0.3, 0.02, 0.02, 0.4
"""How likely it is to do so where it can."""
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


class Actor:
    """Claims what it won, brings its own markets on, votes once on each question, and otherwise trades."""

    def __init__(
        self, trader: Trader, rng: random.Random, chain_time: Callable[[], Awaitable[datetime]]
    ) -> None:
        self._trader = trader
        self._rng = rng
        self._chain_time = chain_time
        self._voted: set[tuple[str, str]] = set()

    async def act(self) -> None:
        """Do one thing, or nothing. Raises ApiRefused, also when somebody else was quicker."""
        positions: Sequence[Row] = await self._trader.get(f"/api/users/{self._trader.address}/positions")
        for position in positions:
            if int(position["claimable"]):
                await self._trader.carry_out(f"/api/markets/{position['market_id']}/claim")
                return
        markets: Sequence[Row] = (await self._trader.get("/api/markets", limit=NEWEST_MARKETS))["markets"]
        if await self._bring_on(markets) or await self._vote(markets):
            return
        open_markets = [market for market in markets if market["state"] in {"APPROVED", "ACTIVE"}]
        if len(open_markets) < OPEN_MARKETS and self._chance(PROPOSING):
            await self._propose()
        elif active := [market for market in open_markets if market["state"] == "ACTIVE"]:
            await self._trade(self._rng.choice(active), positions)

    async def _bring_on(self, markets: Sequence[Row]) -> bool:
        """Activate or resolve a market of its own, or dispute another one's; whether there was one to."""
        for market in markets:
            mine = market["creator_wallet"] == self._trader.address
            path = f"/api/markets/{market['id']}"
            match market["state"]:
                case "APPROVED" if mine:
                    await self._trader.carry_out(f"{path}/activate")
                    return True
                case "ACTIVE" if mine and market["trades_count"] >= MATURE_TRADES and self._chance(RESOLVING):
                    await self._trader.carry_out(f"{path}/resolve", self._resolution(market))
                    return True
                case "RESOLVING" if not mine and self._chance(DISPUTING):
                    await self._trader.carry_out(f"{path}/dispute")
                    return True
        return False

    async def _vote(self, markets: Sequence[Row]) -> bool:
        """Vote on the first question that it has not been asked before; whether there was one."""
        kinds = {"PROPOSED": "proposal", "DISPUTED": "dispute"}
        for market in markets:
            kind = kinds.get(market["state"])
            if kind is None or (market["id"], kind) in self._voted:
                continue
            # What is refused is refused for good: it has voted in an earlier life, or the count has begun.
            self._voted.add((market["id"], kind))
            vote = {"market_id": market["id"], "vote": self._chance(LIKING)}
            await self._trader.post(f"/api/votes/{kind}", vote)
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
        await self._trader.carry_out("/api/markets", proposal)

    async def _trade(self, market: Row, positions: Sequence[Row]) -> None:
        order = {"market_id": market["id"], "outcome": self._chance(BUYING_YES)}
        side = "shares_yes" if order["outcome"] else "shares_no"
        held = sum(int(one[side]) for one in positions if one["market_id"] == market["id"])
        if held > SCALE and self._chance(SELLING):
            shares = held // self._rng.randint(2, 5)
            await self._trader.carry_out("/api/trades/sell", {**order, "shares": str(shares)})
            return
        budget_lamports = self._rng.randint(SCALE // 50, 3 * SCALE)
        await self._trader.carry_out("/api/trades/buy", {**order, "target_cost": str(budget_lamports)})

    def _resolution(self, market: Row) -> dict[str, Any]:
        likely = market["price_yes"] >= 0.5
        return {
            "outcome": likely if self._chance(BEING_RIGHT) else not likely,
            "ipfs_evidence_hash": cid_v0(f"evidence for {market['id']}".encode()),
        }

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability
