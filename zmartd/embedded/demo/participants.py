"""The people of the demonstration, and what they do to a market; each deed is a step of the report."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from zmartd.embedded.demo.polling import together, until
from zmartd.embedded.demo.report import Report
from zmartd.embedded.demo.wallet_client import ApiRefused, Landed, Trader
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

LIQUIDITY_LAMPORTS = 50 * SCALE
_YES = {"proposal": "likes", "dispute": "agrees"}
_CONFLICT = 409
_UNPROCESSABLE = 422
_QUOTES_PER_ORDER = 20
"""Others move the price between a quote and its execution; then a trader asks again, so many times."""


class Production(Struct, frozen=True):
    """One market of the demonstration: its letter in the report, and its id."""

    name: str
    market_id: str

    @property
    def path(self) -> str:
        return f"/api/markets/{self.market_id}"


class Ballot(Struct, frozen=True):
    """How the traders vote: the first of them on the chain, the next ones through the API."""

    on_chain: tuple[bool, ...]
    through_api: tuple[bool, ...]


class Cast:
    """A creator, traders and the admin, all signed in. `trades` are the signatures of all trades made."""

    def __init__(
        self, creator: Trader, traders: Sequence[Trader], admin: Trader, report: Report, rng: random.Random
    ) -> None:
        self.creator = creator
        self.traders = traders
        self.admin = admin
        self.trades: set[str] = set()
        self._report = report
        self._rng = rng

    @property
    def everybody(self) -> Sequence[Trader]:
        return (self.creator, *self.traders, self.admin)

    async def propose(self, name: str, question: str, end_date: str) -> Production:
        """A new market of the creator's."""
        answer = await self.creator.post(
            "/api/markets",
            {
                "question": question,
                "description": f"Market {name} of the demonstration.",
                "category": "science",
                "end_date": end_date,
                "initial_liquidity": LIQUIDITY_LAMPORTS,
            },
        )
        landed = await self.creator.send(answer["transaction"])
        self._report.add(name, "proposed", signature=landed.signature, detail=question)
        return Production(name, answer["market"]["id"])

    async def show(self, market: Production) -> dict[str, Any]:
        """The market as the API has it now."""
        shown: dict[str, Any] = await self.creator.get(market.path)
        return shown

    async def vote(self, market: Production, kind: str, ballot: Ballot) -> None:
        """Everybody's vote of this kind. A count may begin before the last one: who is late is told so."""
        on_chain = await together(
            *(
                voter.carry_out(
                    f"/api/votes/{kind}/transaction", {"market_id": market.market_id, "vote": vote}
                )
                for voter, vote in zip(self.traders, ballot.on_chain, strict=False)
            )
        )
        voters = self.traders[len(ballot.on_chain) :]
        counted = await together(
            *(
                self._vote_as(voter, kind, market, vote)
                for voter, vote in zip(voters, ballot.through_api, strict=False)
            )
        )
        votes = [*ballot.on_chain, *(vote for vote in counted if vote is not None)]
        shown = (await self.creator.get(f"/api/votes/{market.market_id}"))[f"{kind}_votes"]
        yes, total = sum(votes), len(votes)
        self._report.add(
            market.name,
            f"{kind} voted on",
            ok=shown == {**shown, "total": total, _YES[kind]: yes},
            signature=on_chain[-1].signature,
            detail=f"{yes} of {total} for it ({yes * 100 // total} %), {len(on_chain)} of them on the chain",
        )

    async def until_state(self, market: Production, state: MarketState, step: str) -> dict[str, Any]:
        """Wait for the API to show the market in a state that a task brings it to. Raises Unfulfilled."""

        async def reached() -> dict[str, Any] | None:
            shown = await self.show(market)
            return shown if shown["state"] == state.name else None

        shown = await until(reached, f"market {market.name} never became {state.name}")
        self._report.add(market.name, step, detail=_life(shown))
        return shown

    async def require_state(self, market: Production, state: MarketState, step: str) -> None:
        """A step that is well only if the market is in this state now."""
        shown = await self.show(market)
        self._report.add(market.name, step, ok=shown["state"] == state.name, detail=_life(shown))

    async def act(
        self, who: Trader, market: Production, action: str, body: Mapping[str, Any] | None = None
    ) -> Landed:
        """A transaction that moves the market along."""
        landed = await who.carry_out(f"{market.path}/{action}", body)
        self._report.add(market.name, action, signature=landed.signature, detail=f"by {who.name}")
        return landed

    async def dispute(self, who: Trader, market: Production) -> None:
        """Open a dispute, as soon as the chain allows it: its clock counts whole seconds, and the dispute
        has to come after the resolution.
        """

        async def disputed() -> Landed | None:
            try:
                return await self.act(who, market, "dispute")
            except ApiRefused as refused:
                if refused.status == _UNPROCESSABLE:
                    return None
                raise

        await until(disputed, f"market {market.name} could not be disputed")

    async def trade(self, market: Production, rounds: int) -> None:
        """All traders at once buy, and sell a part of it, so many times."""
        fills = await together(*(self._trade_as(trader, market, rounds) for trader in self.traders))
        trades = [landed.signature for fill in fills for landed in fill]
        self.trades.update(trades)
        self._report.add(
            market.name,
            "bought and sold",
            ok=len(set(trades)) == len(self.traders) * rounds * 2,
            signature=trades[-1],
            detail=f"{len(trades)} trades by {len(self.traders)} wallets",
        )

    async def pay_out(self, market: Production) -> None:
        """Every winner claims, and the creator withdraws what is left."""
        claims = await together(*(self._claim_as(trader, market) for trader in self.traders))
        paid = [claim for claim in claims if claim is not None]
        lamports = sum(int(claim.events[0]["amount"]) for claim in paid)
        self._report.add(
            market.name,
            "winners claim",
            ok=bool(paid),
            signature=paid[-1].signature if paid else "",
            detail=f"{len(paid)} wallets, {lamports / SCALE:.9f} SOL",
        )
        await self.recover(market)

    async def recover(self, market: Production) -> None:
        """The creator takes what is left of a market that is over."""
        await self.act(self.creator, market, "withdraw")

    async def _vote_as(self, voter: Trader, kind: str, market: Production, vote: bool) -> bool | None:
        """The vote, or None where it came too late to be counted."""
        try:
            await voter.post(f"/api/votes/{kind}", {"market_id": market.market_id, "vote": vote})
        except ApiRefused as refused:
            if refused.status == _CONFLICT:
                return None
            raise
        return vote

    async def _trade_as(self, trader: Trader, market: Production, rounds: int) -> list[Landed]:
        made = []
        for _ in range(rounds):
            order: dict[str, Any] = {"market_id": market.market_id, "outcome": self._rng.random() < 0.6}
            budget_lamports = self._rng.randint(SCALE // 20, 2 * SCALE)
            bought = await _fill(trader, "/api/trades/buy", {**order, "target_cost": str(budget_lamports)})
            part = int(bought.events[0]["shares"]) // self._rng.randint(2, 4)
            # Ten wallets trade at once, so a limit near the quote would fail again and again.
            sale = {**order, "shares": str(part), "min_proceeds": "0"}
            made += [bought, await _fill(trader, "/api/trades/sell", sale)]
        return made

    async def _claim_as(self, trader: Trader, market: Production) -> Landed | None:
        """What the trader was paid; None where there was nothing for it to claim."""
        position = await trader.get(f"/api/users/{trader.address}/positions/{market.market_id}")
        claimable = int(position["claimable"])
        if claimable == 0:
            return None
        landed = await trader.carry_out(f"{market.path}/claim")
        paid = int(landed.events[0]["amount"])
        if paid != claimable:
            detail = f"{trader.name} was paid {paid} and shown {claimable} lamports"
            self._report.add(market.name, "a claim", ok=False, signature=landed.signature, detail=detail)
        return landed


async def _fill(trader: Trader, path: str, order: Mapping[str, Any]) -> Landed:
    for _ in range(_QUOTES_PER_ORDER - 1):
        try:
            return await trader.carry_out(path, order)
        except ApiRefused as refused:
            if refused.status != _UNPROCESSABLE:
                raise
    return await trader.carry_out(path, order)


def _life(shown: Mapping[str, Any]) -> str:
    """A market's state in a few words."""
    outcome = shown["final_outcome_label"] or shown["proposed_outcome_label"]
    return shown["state"] if outcome is None else f"{shown['state']}, {outcome}"
