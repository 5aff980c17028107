"""Four markets from proposal to payout: approved and traded, wrongly resolved, voted down, cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from aiohttp import ClientSession, ClientTimeout
from solders.keypair import Keypair

from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.demo import audit
from zmartd.embedded.demo.chain import LocalChain
from zmartd.embedded.demo.report import Audit, DemoResult, Report
from zmartd.embedded.demo.trader import ApiRefused, Landed, Trader
from zmartd.embedded.demo.watcher import Watcher
from zmartd.embedded.stack import Stack
from zmartd.market.ids import cid_v0
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

TRADERS = 10
STARTING_LAMPORTS = 500 * SCALE
LIQUIDITY_LAMPORTS = 50 * SCALE
DISPUTE_PERIOD_SECONDS = 259_200
PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.2


Found = TypeVar("Found")


class Unfulfilled(Exception):
    """Something that had to happen did not, within the time it may take."""


class Play:
    """The cast, the stage, and what has happened on it so far."""

    def __init__(
        self, creator: Trader, traders: Sequence[Trader], admin: Trader, report: Report, rng: random.Random
    ) -> None:
        self.creator = creator
        self.traders = traders
        self.admin = admin
        self.report = report
        self.rng = rng
        self.trades: set[str] = set()
        self.names: dict[str, str] = {}

    async def propose(self, name: str, question: str) -> str:
        """A new market of the creator's; its id."""
        answer = await self.creator.post(
            "/api/markets",
            {
                "question": question,
                "description": f"Market {name} of the demonstration.",
                "category": "science",
                "end_date": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
                "initial_liquidity": LIQUIDITY_LAMPORTS,
            },
        )
        market_id: str = answer["market"]["id"]
        self.names[market_id] = name
        landed = await self.creator.send(answer["transaction"])
        self.report.add(name, "proposed", signature=landed.signature)
        return market_id

    async def vote(self, market_id: str, kind: str, votes: Sequence[bool], on_chain: Sequence[bool]) -> None:
        """Votes of the first traders on the chain, of the next ones through the API."""
        name = self.names[market_id]
        await asyncio.gather(
            *(
                voter.carry_out(f"/api/votes/{kind}/transaction", {"market_id": market_id, "vote": vote})
                for vote, voter in zip(on_chain, self.traders, strict=False)
            )
        )
        cast = [
            voter.post(f"/api/votes/{kind}", {"market_id": market_id, "vote": vote})
            for vote, voter in zip(votes, self.traders[len(on_chain) :], strict=False)
        ]
        # A count can begin as soon as enough have voted; who comes later is told so.
        answers = await asyncio.gather(*cast, return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, BaseException)]
        ok = all(isinstance(one, ApiRefused) and one.status == 409 for one in refusals)
        yes = sum(votes) + sum(on_chain)
        total = len(votes) + len(on_chain)
        detail = f"{yes} of {total} for it, {len(on_chain)} on the chain"
        self.report.add(name, f"{kind} votes", ok=ok, detail=detail)

    async def until_state(self, market_id: str, state: MarketState, step: str) -> dict[str, Any]:
        """Wait for the API to show a market in a state that a task brings it to."""
        name = self.names[market_id]

        async def reached() -> dict[str, Any] | None:
            market: dict[str, Any] = await self.creator.get(f"/api/markets/{market_id}")
            return market if market["state"] == state.name else None

        market = await until(reached, f"market {name} never became {state.name}")
        self.report.add(name, step, detail=state.name)
        return market

    async def act(
        self, who: Trader, market_id: str, action: str, body: dict[str, Any] | None = None
    ) -> Landed:
        """A transaction that moves the market along."""
        landed = await who.carry_out(f"/api/markets/{market_id}/{action}", body)
        self.report.add(self.names[market_id], action, signature=landed.signature, detail=f"by {who.name}")
        return landed

    async def trade(self, market_id: str, rounds: int) -> None:
        """All traders at once buy, and sell part of what they got, and buy the other side."""
        fills = await asyncio.gather(*(self._trade_as(trader, market_id, rounds) for trader in self.traders))
        signatures = [signature for fill in fills for signature in fill]
        self.trades.update(signatures)
        self.report.add(
            self.names[market_id],
            "ten wallets buy and sell",
            ok=len(signatures) == TRADERS * rounds * 2,
            signature=signatures[-1],
            detail=f"{len(signatures)} trades",
        )

    async def _trade_as(self, trader: Trader, market_id: str, rounds: int) -> list[str]:
        signatures = []
        for _ in range(rounds):
            order: dict[str, Any] = {"market_id": market_id, "outcome": self.rng.random() < 0.6}
            budget = self.rng.randint(SCALE // 20, 2 * SCALE)
            bought = await self._fill(trader, "/api/trades/buy", {**order, "target_cost": str(budget)})
            shares = int(bought.events[0]["shares"])
            sale = {**order, "shares": str(shares // self.rng.randint(2, 4))}
            sold = await self._fill(trader, "/api/trades/sell", sale)
            signatures += [bought.signature, sold.signature]
        return signatures

    async def _fill(self, trader: Trader, path: str, order: dict[str, Any]) -> Landed:
        """Others move the price between quote and execution: then ask for a new quote."""
        for attempt in range(10):
            try:
                return await trader.carry_out(path, order)
            except ApiRefused as error:
                if error.status != 422 or attempt == 9:
                    raise
        raise AssertionError("unreachable")

    async def pay_out(self, market_id: str) -> None:
        """Every winner claims, and the creator withdraws what is left."""
        claims = await asyncio.gather(*(self._claim_as(trader, market_id) for trader in self.traders))
        claimed = [one for one in claims if one is not None]
        self.report.add(
            self.names[market_id],
            "winners claim",
            ok=bool(claimed),
            signature=claimed[-1].signature if claimed else "",
            detail=f"{len(claimed)} wallets, {sum(int(one.events[0]['amount']) for one in claimed)} lamports",
        )
        await self.act(self.creator, market_id, "withdraw")

    async def _claim_as(self, trader: Trader, market_id: str) -> Landed | None:
        position = await trader.get(f"/api/users/{trader.address}/positions/{market_id}")
        claimable = int(position["claimable"])
        if claimable == 0:
            return None
        landed = await trader.carry_out(f"/api/markets/{market_id}/claim")
        paid = int(landed.events[0]["amount"])
        if paid != claimable:
            self.report.add(
                self.names[market_id], "claim", ok=False, detail=f"{paid} paid, {claimable} were shown"
            )
        return landed


async def play(stack: Stack, *, as_json: bool) -> bool:
    """Play all four markets on a fresh system and print what happened. True when everything held."""
    report = Report(live=not as_json)
    result = await _play(stack, report)
    if as_json:
        click.echo(result.as_json())
    return result.ok


async def _play(stack: Stack, report: Report) -> DemoResult:
    idl, rng, watcher = default_idl(), random.Random(7), Watcher()  # noqa: S311 - the plot, not a secret
    async with ClientSession(timeout=ClientTimeout(60)) as session, watcher.watching(session, stack.ws):
        admin = Keypair.from_json(stack.authority.read_text())
        wallets = [Keypair() for _ in range(TRADERS + 1)]
        chain = LocalChain(session, stack.rpc)
        await chain.fund(wallets, STARTING_LAMPORTS)
        names = ["the creator", *(f"trader {number}" for number in range(1, TRADERS + 1)), "the admin"]
        cast = await asyncio.gather(
            *(
                Trader(name, wallet, session, stack.api, idl.program_id).sign_in()
                for name, wallet in zip(names, [*wallets, admin], strict=True)
            )
        )
        drama = Play(cast[0], cast[1:-1], cast[-1], report, rng)
        report.add("", "wallets funded and signed in", detail=f"{len(cast)} wallets")
        async with Rpc(stack.rpc, clock=SystemClock()) as rpc:
            try:
                await _perform(drama, chain, rpc)
            except (Unfulfilled, ApiRefused) as error:
                report.add("", "the demonstration", ok=False, detail=str(error))
            untold = await watcher.until_told(drama.trades, PATIENCE_SECONDS)
            report.add(
                "",
                "the WebSocket told every trade",
                ok=not untold and not watcher.steps_back,
                detail=f"{len(drama.trades) - len(untold)} of {len(drama.trades)}",
            )
            compared = await _compare(drama, watcher, rpc)
    return report.finish(watcher.frames, compared)


async def _perform(drama: Play, chain: LocalChain, rpc: Rpc) -> None:
    a, b, c, d = await asyncio.gather(
        drama.propose("A", "Will the demonstration end with every lamport accounted for?"),
        drama.propose("B", "Will a wrong resolution be put right by a dispute?"),
        drama.propose("C", "Will the community vote this proposal down again?"),
        drama.propose("D", "Will this market be cancelled before it is approved?"),
    )
    await asyncio.gather(
        _until_resolved(drama, a, outcome=True),
        _until_disputed(drama, b),
        _vote_down(drama, c),
        _cancel(drama, d),
    )
    now = (await rpc.chain_time()).unix_timestamp
    await chain.travel(now + DISPUTE_PERIOD_SECONDS + 300)
    drama.report.add("", "three days pass on the chain", detail="dispute windows are over")
    final_a, final_b = await asyncio.gather(
        drama.until_state(a, MarketState.FINALIZED, "finalized by the monitor"),
        drama.until_state(b, MarketState.FINALIZED, "finalized by the aggregator"),
    )
    drama.report.add("A", "outcome kept", ok=final_a["final_outcome"] is True, detail="YES")
    drama.report.add("B", "outcome flipped", ok=final_b["final_outcome"] is True, detail="NO to YES")
    untouched = await drama.creator.get(f"/api/markets/{c}")
    drama.report.add("C", "never approved", ok=untouched["state"] == "PROPOSED", detail=untouched["state"])
    await asyncio.gather(drama.pay_out(a), drama.pay_out(b), drama.act(drama.creator, d, "withdraw"))


async def _open(drama: Play, market_id: str) -> None:
    await drama.vote(market_id, "proposal", votes=[True] * 6 + [False], on_chain=[True, True])
    await drama.until_state(market_id, MarketState.APPROVED, "approved by the aggregator")
    await drama.act(drama.creator, market_id, "activate")
    await drama.trade(market_id, rounds=2)


async def _until_resolved(drama: Play, market_id: str, *, outcome: bool) -> None:
    await _open(drama, market_id)
    evidence = cid_v0(f"evidence for {market_id}".encode())
    resolution = {"outcome": outcome, "ipfs_evidence_hash": evidence}
    await drama.act(drama.creator, market_id, "resolve", resolution)


async def _until_disputed(drama: Play, market_id: str) -> None:
    await _until_resolved(drama, market_id, outcome=False)

    async def disputed() -> Landed | None:
        try:
            return await drama.act(drama.traders[0], market_id, "dispute")
        except ApiRefused as error:
            # The chain's clock counts whole seconds, and the dispute must come after the resolution.
            if error.status == 422:
                return None
            raise

    await until(disputed, "market B could not be disputed")
    await drama.vote(market_id, "dispute", votes=[True] * 5 + [False] * 2, on_chain=[True])


async def _vote_down(drama: Play, market_id: str) -> None:
    await drama.vote(market_id, "proposal", votes=[False] * 6 + [True] * 2, on_chain=[False])


async def _cancel(drama: Play, market_id: str) -> None:
    await drama.act(drama.admin, market_id, "cancel")


async def _compare(drama: Play, watcher: Watcher, rpc: Rpc) -> Audit:
    """The API against the chain, once the index has caught up with it."""
    chain = await audit.read_chain(rpc, default_idl().program_id)
    differences: list[audit.Difference] = []
    for market_id in drama.names:
        shown = await drama.creator.get(f"/api/markets/{market_id}")
        account = chain.markets.get(shown["on_chain_address"])
        if account is None:
            differences.append((drama.names[market_id], "market", "shown", "missing"))
            continue
        differences += audit.compare_market(shown, account)
        told = {"price_yes": watcher.prices.get(market_id), "state": watcher.states.get(market_id)}
        differences += [
            (f"{drama.names[market_id]} over the WebSocket", field, value, shown[field])
            for field, value in told.items()
            if value != shown[field]
        ]
    positions = 0
    for trader in drama.traders:
        held = await trader.get(f"/api/users/{trader.address}/positions")
        positions += len(held)
        differences += audit.compare_positions(trader.address, held, chain)
    for name, field, shown, value in differences:
        drama.report.add(name, f"{field} differs", ok=False, detail=f"API {shown}, chain {value}")
    return Audit(len(drama.names), positions, len(differences))


async def until(look: Callable[[], Awaitable[Found | None]], otherwise: str) -> Found:
    """What `look` finds, asked again and again. Raises Unfulfilled with `otherwise` after a while."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await look()) is None:  # noqa: ASYNC110 - so does a person
                await asyncio.sleep(_POLL_SECONDS)
            return found
    except TimeoutError:
        raise Unfulfilled(otherwise) from None
