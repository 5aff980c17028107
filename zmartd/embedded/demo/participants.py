"""The wallets of the demonstration and what they do to a market; each of it is a step of the report."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from zmartd.embedded.demo.polling import gather_all, wait_for
from zmartd.embedded.demo.report import Report
from zmartd.embedded.demo.wallet_client import ApiRefused, ConfirmedTransaction, WalletClient
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

LIQUIDITY_LAMPORTS = 50 * SCALE
_CONFLICT = 409
_UNPROCESSABLE = 422
_QUOTES_PER_ORDER = 20
"""How often a trader asks for a quote, since others move the price before its order is executed."""


class DemoMarket(Struct, frozen=True):
    """One market of the demonstration: its letter in the report, and its id."""

    name: str
    market_id: str

    @property
    def path(self) -> str:
        return f"/api/markets/{self.market_id}"


class PlannedVotes(Struct, frozen=True):
    """The traders' votes: the first traders vote on the chain, the next ones through the API."""

    on_chain: tuple[bool, ...]
    through_api: tuple[bool, ...]


class Participants:
    """A creator, traders and the admin, all signed in. `trades` are the signatures of their trades."""

    def __init__(
        self,
        creator: WalletClient,
        traders: Sequence[WalletClient],
        admin: WalletClient,
        report: Report,
        rng: random.Random,
    ) -> None:
        self.creator = creator
        self.traders = traders
        self.admin = admin
        self.trades: set[str] = set()
        self._report = report
        self._rng = rng

    @property
    def everyone(self) -> Sequence[WalletClient]:
        return (self.creator, *self.traders, self.admin)

    async def propose(self, name: str, question: str, end_date: str) -> DemoMarket:
        """Propose a market as the creator."""
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
        return DemoMarket(name, answer["market"]["id"])

    async def show(self, market: DemoMarket) -> dict[str, Any]:
        """The market as the API shows it."""
        shown: dict[str, Any] = await self.creator.get(market.path)
        return shown

    async def vote(self, market: DemoMarket, kind: str, planned: PlannedVotes) -> None:
        """Let the traders vote. The count may begin before the last vote, which the API then refuses."""
        on_chain = await gather_all(
            *(
                voter.transact(
                    f"/api/votes/{kind}/transaction", {"market_id": market.market_id, "vote": vote}
                )
                for voter, vote in zip(self.traders, planned.on_chain, strict=False)
            )
        )
        voters = self.traders[len(planned.on_chain) :]
        counted = await gather_all(
            *(
                self._vote_as(voter, kind, market, vote)
                for voter, vote in zip(voters, planned.through_api, strict=False)
            )
        )
        votes = [*planned.on_chain, *(vote for vote in counted if vote is not None)]
        shown = (await self.creator.get(f"/api/votes/{market.market_id}"))[f"{kind}_votes"]
        yes, total = sum(votes), len(votes)
        self._report.add(
            market.name,
            f"{kind} voted on",
            ok=shown == {**shown, "total": total, "in_favour": yes},
            signature=on_chain[-1].signature,
            detail=f"{yes} of {total} for it ({yes * 100 // total} %), {len(on_chain)} of them on the chain",
        )

    async def wait_for_state(self, market: DemoMarket, state: MarketState, step: str) -> dict[str, Any]:
        """Wait until the API shows the market in a state that a task brings about. Raises WaitTimedOut."""

        async def reached() -> dict[str, Any] | None:
            shown = await self.show(market)
            return shown if shown["state"] == state.name else None

        shown = await wait_for(reached, f"market {market.name} never became {state.name}")
        self._report.add(market.name, step, detail=_state_text(shown))
        return shown

    async def require_state(self, market: DemoMarket, state: MarketState, step: str) -> None:
        """Add a step that is ok if the market is in this state."""
        shown = await self.show(market)
        self._report.add(market.name, step, ok=shown["state"] == state.name, detail=_state_text(shown))

    async def act(
        self, who: WalletClient, market: DemoMarket, action: str, body: Mapping[str, Any] | None = None
    ) -> ConfirmedTransaction:
        """Send a transaction that changes the market's state."""
        landed = await who.transact(f"{market.path}/{action}", body)
        self._report.add(market.name, action, signature=landed.signature, detail=f"by {who.name}")
        return landed

    async def dispute(self, who: WalletClient, market: DemoMarket) -> None:
        """Open a dispute as soon as the program allows it: in a later second than the resolution."""

        async def disputed() -> ConfirmedTransaction | None:
            try:
                return await self.act(who, market, "dispute")
            except ApiRefused as refused:
                if refused.status == _CONFLICT:
                    return None
                raise

        await wait_for(disputed, f"market {market.name} could not be disputed")

    async def trade(self, market: DemoMarket, rounds: int) -> None:
        """Let all traders at once buy, and sell a part of it, `rounds` times."""
        fills = await gather_all(*(self._trade_as(trader, market, rounds) for trader in self.traders))
        trades = [landed.signature for fill in fills for landed in fill]
        self.trades.update(trades)
        self._report.add(
            market.name,
            "bought and sold",
            ok=len(set(trades)) == len(self.traders) * rounds * 2,
            signature=trades[-1],
            detail=f"{len(trades)} trades by {len(self.traders)} wallets",
        )

    async def pay_out(self, market: DemoMarket) -> None:
        """Let every winner claim, and the creator withdraw the rest."""
        claims = await gather_all(*(self._claim_as(trader, market) for trader in self.traders))
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

    async def recover(self, market: DemoMarket) -> None:
        """Let the creator withdraw what is left in a market that has ended."""
        await self.act(self.creator, market, "withdraw")

    async def _vote_as(self, voter: WalletClient, kind: str, market: DemoMarket, vote: bool) -> bool | None:
        """The vote, or None when it came too late."""
        try:
            await voter.post(f"/api/votes/{kind}", {"market_id": market.market_id, "vote": vote})
        except ApiRefused as refused:
            if refused.status == _CONFLICT:
                return None
            raise
        return vote

    async def _trade_as(
        self, trader: WalletClient, market: DemoMarket, rounds: int
    ) -> list[ConfirmedTransaction]:
        made = []
        for _ in range(rounds):
            order: dict[str, Any] = {"market_id": market.market_id, "outcome": self._rng.random() < 0.6}
            budget_lamports = self._rng.randint(SCALE // 20, 2 * SCALE)
            # Ten wallets trade at once, so a limit near the quote would often fail.
            purchase = {**order, "target_cost": str(budget_lamports), "min_shares": "0"}
            bought = await _fill(trader, "/api/trades/buy", purchase)
            part = int(bought.events[0]["shares"]) // self._rng.randint(2, 4)
            sale = {**order, "shares": str(part), "min_proceeds": "0"}
            made += [bought, await _fill(trader, "/api/trades/sell", sale)]
        return made

    async def _claim_as(self, trader: WalletClient, market: DemoMarket) -> ConfirmedTransaction | None:
        """The trader's claim; None when there was nothing to claim."""
        position = await trader.get(f"/api/users/{trader.address}/positions/{market.market_id}")
        claimable = int(position["claimable"])
        if claimable == 0:
            return None
        landed = await trader.transact(f"{market.path}/claim")
        paid = int(landed.events[0]["amount"])
        if paid != claimable:
            detail = f"{trader.name} was paid {paid} and shown {claimable} lamports"
            self._report.add(market.name, "a claim", ok=False, signature=landed.signature, detail=detail)
        return landed


async def _fill(trader: WalletClient, path: str, order: Mapping[str, Any]) -> ConfirmedTransaction:
    for _ in range(_QUOTES_PER_ORDER - 1):
        try:
            return await trader.transact(path, order)
        except ApiRefused as refused:
            if refused.status not in {_CONFLICT, _UNPROCESSABLE}:
                raise
    return await trader.transact(path, order)


def _state_text(shown: Mapping[str, Any]) -> str:
    """A market's state and outcome."""
    outcome = shown["final_outcome_label"] or shown["proposed_outcome_label"]
    return shown["state"] if outcome is None else f"{shown['state']}, {outcome}"
