"""The behaviour of one simulated trader."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from zmartd.embedded.demo.wallet_client import WalletClient
from zmartd.embedded.happening import Happening, Tell
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE

OPEN_MARKETS = 4
MATURE_TRADES = 8
"""The trades after which a market may be resolved."""

PROPOSING, RESOLVING, DISPUTING, SELLING = 0.3, 0.1, 0.02, 0.4
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
    """Claims what it won, moves its own markets along, votes once on each market, and otherwise trades.

    `markets` are those of the simulation. A trader touches no other.
    """

    def __init__(
        self,
        client: WalletClient,
        rng: random.Random,
        chain_time: Callable[[], Awaitable[datetime]],
        markets: Callable[[], Sequence[Row]],
        tell: Tell,
    ) -> None:
        self._client = client
        self._rng = rng
        self._chain_time = chain_time
        self._markets = markets
        self._tell = tell
        self._voted: set[tuple[str, str]] = set()
        self._withdrawn: set[str] = set()

    async def act(self) -> None:
        """Do one thing, or nothing. Raises ApiRefused, also when another wallet was faster."""
        markets = self._markets()
        positions: Sequence[Row] = await self._client.get(f"/api/users/{self._client.address}/positions")
        if (
            await self._claim(markets, positions)
            or await self._advance_markets(markets)
            or await self._vote(markets)
        ):
            return
        open_markets = [market for market in markets if market["state"] in {"APPROVED", "ACTIVE"}]
        if len(open_markets) < OPEN_MARKETS and self._chance(PROPOSING):
            await self._propose()
        elif active := [market for market in open_markets if market["state"] == "ACTIVE"]:
            await self._trade(self._rng.choice(active), positions)

    async def _claim(self, markets: Sequence[Row], positions: Sequence[Row]) -> bool:
        """Claim what one of its positions is worth; whether there was one."""
        by_id = {market["id"]: market for market in markets}
        for position in positions:
            market = by_id.get(position["market_id"])
            lamports = int(position["claimable"])
            if market is not None and lamports:
                await self._transact("claimed", market, "claim", detail=f"{_sol(lamports)} SOL")
                return True
        return False

    async def _advance_markets(self, markets: Sequence[Row]) -> bool:
        """Do what comes next with one of the markets; whether there was something."""
        for market in markets:
            mine = market["creator_wallet"] == self._client.address
            match market["state"]:
                case "APPROVED" if mine:
                    await self._transact("activated", market, "activate")
                    return True
                case "ACTIVE" if mine and market["trades_count"] >= MATURE_TRADES and self._chance(RESOLVING):
                    resolution = await self._resolution(market)
                    detail = "YES" if resolution["outcome"] else "NO"
                    await self._transact("resolved", market, "resolve", resolution, detail=detail)
                    return True
                case "RESOLVING" if not mine and self._chance(DISPUTING):
                    await self._transact("disputed", market, "dispute")
                    return True
                case "FINALIZED" if mine and market["id"] not in self._withdrawn:
                    # A refusal is final: it has withdrawn before a restart.
                    self._withdrawn.add(market["id"])
                    await self._transact("withdrew", market, "withdraw")
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
        question = f"{question} (asked {now:%d %b %H:%M:%S})"
        proposal = {
            "question": question,
            "category": category,
            "end_date": iso_time(now + timedelta(days=self._rng.randint(2, 60))),
            "initial_liquidity": self._rng.randint(5, 50) * SCALE,
        }
        answer = await self._client.post("/api/markets", proposal)
        landed = await self._client.send(answer["transaction"])
        market = {"id": answer["market"]["id"], "question": question}
        self._say("proposed", market, signature=landed.signature)

    async def _trade(self, market: Row, positions: Sequence[Row]) -> None:
        order = {"market_id": market["id"], "outcome": self._chance(BUYING_YES)}
        side = "shares_yes" if order["outcome"] else "shares_no"
        held = sum(int(one[side]) for one in positions if one["market_id"] == market["id"])
        if held > SCALE and self._chance(SELLING):
            shares = held // self._rng.randint(2, 5)
            landed = await self._client.transact("/api/trades/sell", {**order, "shares": str(shares)})
            what, lamports = "sold", landed.events[0]["proceeds"]
        else:
            budget_lamports = self._rng.randint(SCALE // 50, 3 * SCALE)
            landed = await self._client.transact(
                "/api/trades/buy", {**order, "target_cost": str(budget_lamports)}
            )
            what, lamports = "bought", landed.events[0]["cost"]
        shares = int(landed.events[0]["shares"])
        label = "YES" if order["outcome"] else "NO"
        detail = f"{_sol(shares)} {label} for {_sol(int(lamports))} SOL"
        self._say(what, market, detail=detail, signature=landed.signature)

    async def _resolution(self, market: Row) -> dict[str, Any]:
        likely = market["price_yes"] >= 0.5
        resolution = {
            "outcome": likely if self._chance(BEING_RIGHT) else not likely,
            "evidence": "The price says so.",
        }
        if await self._chain_time() >= datetime.fromisoformat(market["end_date"]):
            return resolution
        reason = "Simulated markets do not wait for their end."
        return {**resolution, "early": True, "early_reason": reason}

    async def _transact(
        self,
        what: str,
        market: Row,
        action: str,
        body: Mapping[str, Any] | None = None,
        detail: str = "",
    ) -> None:
        landed = await self._client.transact(f"/api/markets/{market['id']}/{action}", body)
        self._say(what, market, detail=detail, signature=landed.signature)

    def _say(self, what: str, market: Row, *, detail: str = "", signature: str = "") -> None:
        self._tell(
            Happening(
                what=what,
                who=self._client.name,
                market_id=market["id"],
                question=market["question"],
                detail=detail,
                signature=signature,
            )
        )

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability


def _sol(units: int) -> str:
    """Lamports in SOL, or units in shares, to four digits after the point."""
    return f"{units / SCALE:.4f}"
