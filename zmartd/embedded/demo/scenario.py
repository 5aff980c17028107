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
from zmartd.embedded.demo.audit import Auditor
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.participants import DemoMarket, Participants, PlannedVotes
from zmartd.embedded.demo.polling import WAIT_SECONDS, gather_all
from zmartd.embedded.demo.report import Audit, DemoResult, Report
from zmartd.embedded.demo.wallet_client import WalletClient
from zmartd.embedded.demo.websocket_recorder import WebSocketRecorder
from zmartd.embedded.stack import Stack
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.task_settings import MarketMonitorSettings

PROGRAM_ID = default_idl().program_id
TRADERS = 10
ROUNDS = 2
STARTING_LAMPORTS = 500 * SCALE
FRAME_SECONDS = 5.0
"""How long after an event its frame may arrive."""
SPARE_SECONDS = 300
"""How far beyond the last deadline the chain's clock is moved."""

LIKED = PlannedVotes(on_chain=(True, True), through_api=(True,) * 6 + (False,))
DISLIKED = PlannedVotes(on_chain=(False,), through_api=(False,) * 6 + (True,) * 2)
UPHELD = PlannedVotes(on_chain=(True,), through_api=(True,) * 7 + (False,))
"""Wallets and stake must agree: one of ten traders never holds two fifths of the stake that voted."""

QUESTIONS = {
    "A": "Will the demonstration end with every lamport accounted for?",
    "B": "Will a wrong resolution be put right by a dispute?",
    "C": "Will the community vote this proposal down again?",
    "D": "Will this market be cancelled before it is approved?",
}
EXPECTED_STATES = {
    "A": ("PROPOSED", "APPROVED", "ACTIVE", "RESOLVING", "FINALIZED"),
    "B": ("PROPOSED", "APPROVED", "ACTIVE", "RESOLVING", "DISPUTED", "FINALIZED"),
    "C": ("PROPOSED",),
    "D": ("PROPOSED", "CANCELLED"),
}
"""The states that the frames of each market must show, in this order."""


class Demo(Struct, frozen=True):
    """The parts of a running demonstration."""

    participants: Participants
    chain: LocalnetClient
    rpc: Rpc
    recorder: WebSocketRecorder
    report: Report
    config: GlobalConfig


async def run_demo(stack: Stack, report: Report) -> DemoResult:
    """Run all four markets on a fresh system through its public API. Raises nothing: what goes wrong is a
    failed step of the result.
    """
    recorder = WebSocketRecorder()
    audit: Audit | None = None
    with report.failing_with("the demonstration"):
        async with (
            ClientSession(timeout=ClientTimeout(WAIT_SECONDS)) as session,
            Rpc(stack.rpc, clock=SystemClock()) as rpc,
            recorder.recording(session, stack.ws),
        ):
            demo = await _set_up(stack, session, rpc, recorder, report)
            treasury = str(demo.config.protocol_fee_wallet)
            auditor = await Auditor.before_the_demo(demo.chain, rpc, PROGRAM_ID, treasury)
            markets: list[DemoMarket] = []
            with report.failing_with("the markets"):
                await _propose(demo, markets)
                await _run_markets(demo, *markets)
            await _check_recorder(demo, markets)
            audit = await auditor.audit(demo.participants, markets, recorder, report)
    return report.finish(recorder.frames, audit)


async def _set_up(
    stack: Stack, session: ClientSession, rpc: Rpc, recorder: WebSocketRecorder, report: Report
) -> Demo:
    """Fund the wallets and sign them in."""
    chain = LocalnetClient(session, stack.rpc)
    people = {"the creator": Keypair()} | {f"trader {n}": Keypair() for n in range(1, TRADERS + 1)}
    await chain.fund([str(wallet.pubkey()) for wallet in people.values()], STARTING_LAMPORTS)
    people["the admin"] = Keypair.from_json(stack.authority.read_text())
    creator, *traders, admin = await gather_all(
        *(
            WalletClient(name, wallet, session, stack.api, PROGRAM_ID).sign_in()
            for name, wallet in people.items()
        )
    )
    report.add("", "wallets funded, signed in", detail=f"{len(people)} wallets")
    config = await read_config(rpc, PROGRAM_ID)
    rng = random.Random(7)  # noqa: S311 - the same demonstration each time
    participants = Participants(creator, traders, admin, report, rng)
    return Demo(participants, chain, rpc, recorder, report, config)


async def _propose(demo: Demo, markets: list[DemoMarket]) -> None:
    now = datetime.fromtimestamp((await demo.rpc.chain_time()).unix_timestamp, UTC)
    end_date = iso_time(now + timedelta(days=30))
    markets += await gather_all(
        *(demo.participants.propose(name, question, end_date) for name, question in QUESTIONS.items())
    )


async def _run_markets(demo: Demo, a: DemoMarket, b: DemoMarket, c: DemoMarket, d: DemoMarket) -> None:
    participants = demo.participants
    await gather_all(
        _run_to_resolution(demo, a),
        _run_to_dispute(demo, b),
        participants.vote(c, "proposal", DISLIKED),
        participants.act(participants.admin, d, "cancel"),
    )
    await participants.require_state(a, MarketState.RESOLVING, "left open by the monitor")
    await participants.require_state(b, MarketState.DISPUTED, "left open by the aggregator")
    await participants.require_state(c, MarketState.PROPOSED, "left by the aggregator")
    await _let_deadlines_pass(demo)
    await gather_all(
        _check_end(demo, a, "finalized by the monitor", proposed=True),
        _check_end(demo, b, "finalized by the aggregator", proposed=False),
    )
    await participants.require_state(c, MarketState.PROPOSED, "still not approved")
    await gather_all(participants.pay_out(a), participants.pay_out(b), participants.recover(d))


async def _run_to_trading(demo: Demo, market: DemoMarket) -> None:
    participants = demo.participants
    await participants.vote(market, "proposal", LIKED)
    await participants.wait_for_state(market, MarketState.APPROVED, "approved by the aggregator")
    await participants.act(participants.creator, market, "activate")
    await participants.trade(market, ROUNDS)


async def _resolve(demo: Demo, market: DemoMarket, *, outcome: bool) -> None:
    body = {
        "outcome": outcome,
        "evidence": f"Seen in the demo: {market.name} is {'YES' if outcome else 'NO'}.",
        "early": True,
        "early_reason": "The demo does not wait for a month.",
    }
    await demo.participants.act(demo.participants.creator, market, "resolve", body)


async def _run_to_resolution(demo: Demo, market: DemoMarket) -> None:
    await _run_to_trading(demo, market)
    await _resolve(demo, market, outcome=True)


async def _run_to_dispute(demo: Demo, market: DemoMarket) -> None:
    await _run_to_trading(demo, market)
    await _resolve(demo, market, outcome=False)
    await demo.participants.dispute(demo.participants.traders[0], market)
    await demo.participants.vote(market, "dispute", UPHELD)


async def _let_deadlines_pass(demo: Demo) -> None:
    """Move the chain's clock once for all markets, beyond the dispute period and the monitor's own delay."""
    delay_seconds = MarketMonitorSettings().finalization_delay_seconds
    now = (await demo.rpc.chain_time()).unix_timestamp
    seconds = max(demo.config.dispute_period, delay_seconds) + SPARE_SECONDS
    await demo.chain.travel(now + seconds)
    demo.report.add(
        "", "time passes on the chain", detail=f"{seconds // 3_600} hours: every deadline is over"
    )


async def _check_end(demo: Demo, market: DemoMarket, step: str, *, proposed: bool) -> None:
    """Both markets end with YES: A as it was resolved, B against its resolution."""
    shown = await demo.participants.wait_for_state(market, MarketState.FINALIZED, step)
    demo.report.add(
        market.name,
        "outcome kept" if proposed else "outcome flipped",
        ok=(shown["proposed_outcome"], shown["final_outcome"]) == (proposed, True),
        detail=f"{shown['proposed_outcome_label']} was proposed, {shown['final_outcome_label']} is final",
    )


async def _check_recorder(demo: Demo, markets: list[DemoMarket]) -> None:
    recorder, trades = demo.recorder, demo.participants.trades
    missing = await recorder.wait_for_trades(trades, FRAME_SECONDS)
    shown = f"{len(trades) - len(missing)} of {len(trades)}"
    demo.report.add("", "the WebSocket showed every trade", ok=not missing, detail=shown)
    for market in markets:
        expected = EXPECTED_STATES[market.name]
        complete = await recorder.wait_for_states(market.market_id, expected, FRAME_SECONDS)
        states = " → ".join(recorder.states[market.market_id])
        demo.report.add(market.name, "the WebSocket showed its states", ok=complete, detail=states)
    problems = "; ".join(recorder.problems)
    demo.report.add("", "the WebSocket kept the order", ok=not problems, detail=problems)
