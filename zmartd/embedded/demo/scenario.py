"""Four markets from proposal to payout: approved and traded, wrongly resolved, voted down, cancelled."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from aiohttp import ClientSession, ClientTimeout
from msgspec import Struct
from solders.keypair import Keypair

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.idl import default_idl
from zmartd.chain.program_accounts import read_config
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.config import MarketMonitor
from zmartd.embedded.demo.audit import Auditor
from zmartd.embedded.demo.localnet_client import LocalChain
from zmartd.embedded.demo.participants import Ballot, Cast, Production
from zmartd.embedded.demo.polling import PATIENCE_SECONDS, together
from zmartd.embedded.demo.report import Audit, DemoResult, Report
from zmartd.embedded.demo.task_runs import TaskRuns
from zmartd.embedded.demo.wallet_client import Trader
from zmartd.embedded.demo.websocket_recorder import Watcher
from zmartd.embedded.stack import Stack
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

PROGRAM_ID = default_idl().program_id
TRADERS = 10
ROUNDS = 2
STARTING_LAMPORTS = 500 * SCALE
FRAME_SECONDS = 5.0
"""How long a frame may take after what it tells of."""
SPARE_SECONDS = 300
"""How much further than the last deadline the chain's clock is moved."""

LIKED = Ballot(on_chain=(True, True), through_api=(True,) * 6 + (False,))
DISLIKED = Ballot(on_chain=(False,), through_api=(False,) * 6 + (True,) * 2)
UPHELD = Ballot(on_chain=(True,), through_api=(True,) * 7 + (False,))
"""Wallets and stake have to say the same: one of ten traders never holds two fifths of what has voted."""

QUESTIONS = {
    "A": "Will the demonstration end with every lamport accounted for?",
    "B": "Will a wrong resolution be put right by a dispute?",
    "C": "Will the community vote this proposal down again?",
    "D": "Will this market be cancelled before it is approved?",
}
LIVES = {
    "A": ("PROPOSED", "APPROVED", "ACTIVE", "RESOLVING", "FINALIZED"),
    "B": ("PROPOSED", "APPROVED", "ACTIVE", "RESOLVING", "DISPUTED", "FINALIZED"),
    "C": ("PROPOSED",),
    "D": ("PROPOSED", "CANCELLED"),
}
"""The states that each market passes through, as somebody who watches is to be told them."""


class Stage(Struct, frozen=True):
    """Who plays, and what they play with."""

    cast: Cast
    chain: LocalChain
    rpc: Rpc
    tasks: TaskRuns
    watcher: Watcher
    report: Report
    config: GlobalConfig


async def play(stack: Stack, report: Report) -> DemoResult:
    """Play all four markets on a fresh system, through its public doors; the operator's tells only when tasks
    have run. Raises nothing: what goes wrong is a failed step of the result.
    """
    watcher = Watcher()
    audit: Audit | None = None
    with report.failing_with("the demonstration"):
        async with (
            ClientSession(timeout=ClientTimeout(PATIENCE_SECONDS)) as session,
            Rpc(stack.rpc, clock=SystemClock()) as rpc,
            watcher.watching(session, stack.ws),
        ):
            stage = await _set(stack, session, rpc, watcher, report)
            treasury = str(stage.config.protocol_fee_wallet)
            auditor = await Auditor.before_the_play(stage.chain, rpc, PROGRAM_ID, treasury)
            markets: list[Production] = []
            with report.failing_with("the play"):
                await _propose(stage, markets)
                await _perform(stage, *markets)
            await _hear_the_watcher(stage, markets)
            audit = await auditor.audit(stage.cast, markets, watcher, report)
    return report.finish(watcher.frames, audit)


async def _set(stack: Stack, session: ClientSession, rpc: Rpc, watcher: Watcher, report: Report) -> Stage:
    """Wallets with money, signed in."""
    chain = LocalChain(session, stack.rpc)
    people = {"the creator": Keypair()} | {f"trader {n}": Keypair() for n in range(1, TRADERS + 1)}
    await chain.fund(list(people.values()), STARTING_LAMPORTS)
    people["the admin"] = Keypair.from_json(stack.authority.read_text())
    creator, *traders, admin = await together(
        *(Trader(name, wallet, session, stack.api, PROGRAM_ID).sign_in() for name, wallet in people.items())
    )
    report.add("", "wallets funded, signed in", detail=f"{len(people)} wallets")
    config = await read_config(rpc, PROGRAM_ID)
    rng = random.Random(7)  # noqa: S311 - the plot, not a secret
    cast = Cast(creator, traders, admin, report, rng)
    return Stage(cast, chain, rpc, TaskRuns(session, stack.operator), watcher, report, config)


async def _propose(stage: Stage, markets: list[Production]) -> None:
    now = datetime.fromtimestamp((await stage.rpc.chain_time()).unix_timestamp, UTC)
    end_date = iso_time(now + timedelta(days=30))
    markets += await together(
        *(stage.cast.propose(name, question, end_date) for name, question in QUESTIONS.items())
    )


async def _perform(stage: Stage, a: Production, b: Production, c: Production, d: Production) -> None:
    cast = stage.cast
    await together(
        _up_to_the_resolution(stage, a),
        _up_to_the_dispute(stage, b),
        _down(stage, c),
        cast.act(cast.admin, d, "cancel"),
    )
    await _let_deadlines_pass(stage)
    await together(
        _end(stage, a, "finalized by the monitor", proposed=True),
        _end(stage, b, "finalized by the aggregator", proposed=False),
    )
    await cast.require_state(c, MarketState.PROPOSED, "still not approved")
    await together(cast.pay_out(a), cast.pay_out(b), cast.recover(d))


async def _open(stage: Stage, market: Production) -> None:
    cast = stage.cast
    await cast.vote(market, "proposal", LIKED)
    await cast.until_state(market, MarketState.APPROVED, "approved by the aggregator")
    await cast.act(cast.creator, market, "activate")
    await cast.trade(market, ROUNDS)


async def _resolve(stage: Stage, market: Production, *, outcome: bool) -> None:
    evidence = cid_v0(f"evidence for {market.market_id}".encode())
    body = {"outcome": outcome, "ipfs_evidence_hash": evidence}
    await stage.cast.act(stage.cast.creator, market, "resolve", body)


async def _up_to_the_resolution(stage: Stage, market: Production) -> None:
    await _open(stage, market)
    await _resolve(stage, market, outcome=True)
    await stage.tasks.until_a_whole_run_of("market_monitor")
    await stage.cast.require_state(market, MarketState.RESOLVING, "left open by the monitor")


async def _up_to_the_dispute(stage: Stage, market: Production) -> None:
    await _open(stage, market)
    await _resolve(stage, market, outcome=False)
    await stage.cast.dispute(stage.cast.traders[0], market)
    await stage.cast.vote(market, "dispute", UPHELD)
    await stage.tasks.until_a_whole_run_of("vote_aggregator")
    await stage.cast.require_state(market, MarketState.DISPUTED, "left open by the aggregator")


async def _down(stage: Stage, market: Production) -> None:
    await stage.cast.vote(market, "proposal", DISLIKED)
    await stage.tasks.until_a_whole_run_of("vote_aggregator")
    await stage.cast.require_state(market, MarketState.PROPOSED, "left by the aggregator")


async def _let_deadlines_pass(stage: Stage) -> None:
    """Once for all markets: until the dispute period and the monitor's own delay are over."""
    delay_seconds = MarketMonitor().finalization_delay_seconds
    now = (await stage.rpc.chain_time()).unix_timestamp
    seconds = max(stage.config.dispute_period, delay_seconds) + SPARE_SECONDS
    await stage.chain.travel(now + seconds)
    stage.report.add(
        "", "time passes on the chain", detail=f"{seconds // 3_600} hours: every deadline is over"
    )


async def _end(stage: Stage, market: Production, step: str, *, proposed: bool) -> None:
    """Both end with YES: A as it was resolved, B against its resolution."""
    shown = await stage.cast.until_state(market, MarketState.FINALIZED, step)
    stage.report.add(
        market.name,
        "outcome kept" if proposed else "outcome flipped",
        ok=(shown["proposed_outcome"], shown["final_outcome"]) == (proposed, True),
        detail=f"{shown['proposed_outcome_label']} was proposed, {shown['final_outcome_label']} is final",
    )


async def _hear_the_watcher(stage: Stage, markets: list[Production]) -> None:
    watcher, trades = stage.watcher, stage.cast.trades
    untold = await watcher.until_told(trades, FRAME_SECONDS)
    told = f"{len(trades) - len(untold)} of {len(trades)}"
    stage.report.add("", "the WebSocket told every trade", ok=not untold, detail=told)
    for market in markets:
        life = LIVES[market.name]
        heard = await watcher.until_lived(market.market_id, life, FRAME_SECONDS)
        states = " → ".join(watcher.states[market.market_id])
        stage.report.add(market.name, "the WebSocket told its life", ok=heard, detail=states)
    faults = "; ".join(watcher.faults)
    stage.report.add("", "the WebSocket never went back", ok=not faults, detail=faults)
