"""What a quote promises holds when others trade before it is sent, or nothing is sent."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from itertools import count
from typing import Any

from solders.instruction import Instruction

from tests.integration.chain.chain_nodes import node_before
from tests.integration.http.rest.rest_api import IDL, PROGRAM, Answer, running_api
from tests.integration.http.rest.rest_stage import ALICE, AUTHORITY, BOB, SOL, TREASURY, Stage
from tests.integration.indexer.market_lives import MEMO_PROGRAM
from zmartd.chain.assemble import compute_budget, sign
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.terms import Rebroadcasts, Terms
from zmartd.clock import SystemClock
from zmartd.config import TransactionSettings
from zmartd.market import lmsr
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

SEED = 13
ROUNDS = 16
PATIENT_SECONDS = 120
LEAST = SOL * 3 // 2
"""Shares that a SOL buys at the price of a new market, and not at 0.8."""
_numbers = count()
"""Makes transactions differ that do the same on the same blockhash."""
BUY, SELL = "/api/trades/buy", "/api/trades/sell"


async def kept(stage: Stage, wallet: str) -> int:
    """How many transactions of a wallet the outbox has."""
    async with stage.api.database.service() as connection:
        count: int = await connection.fetchval(
            "select count(*) from outbox_transactions where relayed_for = $1", wallet
        )
    return count


async def move(stage: Stage, market_id: str, outcome: bool, target_cost: int) -> None:
    """BOB buys past the API."""
    await land(
        stage,
        PROGRAM.buy_shares(
            user=BOB.pubkey(),
            market=PROGRAM.pdas.market(bytes.fromhex(market_id)),
            protocol_fee_wallet=TREASURY,
            outcome=outcome,
            target_cost=target_cost,
        ),
    )


async def move_back(stage: Stage, market_id: str, outcome: bool) -> None:
    """BOB sells all that he has."""
    position = await stage.position_account(market_id, BOB)
    await land(
        stage,
        PROGRAM.sell_shares(
            user=BOB.pubkey(),
            market=PROGRAM.pdas.market(bytes.fromhex(market_id)),
            protocol_fee_wallet=TREASURY,
            outcome=outcome,
            shares_to_sell=position.shares_yes if outcome else position.shares_no,
            min_proceeds=0,
        ),
    )


async def land(stage: Stage, instruction: Instruction) -> None:
    rpc = stage.api.rpc
    latest = await rpc.latest_blockhash()
    budget = compute_budget(400_000 + next(_numbers))
    signed = sign([*budget, instruction], BOB, latest.blockhash, latest.last_valid_block_height, "test")
    await rpc.send(signed.wire)
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            status = (await rpc.signature_statuses([signed.signature])).by_signature[signed.signature]
            if status is not None and status.is_confirmed:
                assert status.err is None
                return


def assert_within_limits(landed: Answer, quoted: dict[str, Any]) -> None:
    """A trade that landed is within what its quote said."""
    (event,) = landed.body["events"]
    if event["name"] == "SharesBought":
        assert int(event["cost"]) <= int(quoted["target_cost"]) <= int(quoted["max_cost"])
        assert int(event["shares"]) >= int(quoted["min_shares"]) > 0
    else:
        assert int(event["proceeds"]) >= int(quoted["min_proceeds"]) > 0


async def test_random_trades_before_it_leave_a_trade_within_its_limits_or_unsent(stage: Stage) -> None:
    """And what is offered instead holds, too."""
    rng, ended = random.Random(SEED), Counter[str]()
    market_id = await stage.active_market()
    for outcome in (True, False):
        order = {"market_id": market_id, "outcome": outcome, "target_cost": 20 * SOL}
        assert (await stage.alice.carry_out(BUY, order)).status == 200
    for _ in range(ROUNDS):
        order = {"market_id": market_id, "outcome": rng.random() < 0.5}
        order["slippage_bps"] = rng.choice([0, 50, 100, 300])
        path, name = rng.choice([(BUY, "target_cost"), (BUY, "shares"), (SELL, "shares"), (SELL, "shares")])
        order[name] = rng.randint(SOL // 10, SOL)
        quoted = await stage.alice.post(path, order)
        assert quoted.status == 200, quoted.body
        await move(stage, market_id, rng.random() < 0.5, int(10 ** rng.uniform(8, 10)))
        before = await kept(stage, stage.alice.address)

        answer = await stage.alice.relay_quoted(quoted.body)

        if answer.status == 200:
            ended[f"{path} landed"] += 1
            assert_within_limits(answer, quoted.body)
            continue
        ended[f"{path} refused"] += 1
        assert (answer.status, answer.body["code"]) == (409, "price_moved"), answer.body
        assert await kept(stage, stage.alice.address) == before, "nothing was sent"
        fresh = answer.body["details"]["fresh"]
        again = await stage.alice.relay_quoted(fresh)
        assert again.status == 200, again.body
        assert_within_limits(again, fresh)
    print(f"of {ROUNDS} trades: {dict(sorted(ended.items()))}")
    assert ended.total() == ROUNDS
    for path in (BUY, SELL):
        assert ended[f"{path} landed"] >= 2
        assert ended[f"{path} refused"] >= 2


async def test_a_trade_whose_price_has_moved_is_answered_with_the_price_and_a_fresh_quote(
    stage: Stage,
) -> None:
    """Of a purchase for a cost, of one of shares with room for less than the move, and of a sale."""
    market_id = await stage.active_market()
    market = {"market_id": market_id, "outcome": True}
    await stage.alice.carry_out(BUY, {**market, "target_cost": 5 * SOL})
    cases: list[tuple[str, dict[str, Any], str]] = [
        (BUY, {"target_cost": SOL}, "min_shares"),
        (BUY, {"shares": SOL, "max_cost": 2 * SOL}, "min_shares"),
        (SELL, {"shares": SOL}, "min_proceeds"),
    ]
    for path, amounts, limit in cases:
        if path == SELL:
            await move(stage, market_id, True, 20 * SOL)
        quoted = await stage.alice.post(path, {**market, **amounts})
        assert quoted.status == 200, quoted.body
        if path == SELL:
            await move_back(stage, market_id, True)
        else:
            await move(stage, market_id, True, 20 * SOL)
        before = await kept(stage, stage.alice.address)
        moved = await stage.alice.relay_quoted(quoted.body)

        assert (moved.status, moved.body["code"]) == (409, "price_moved"), moved.body
        assert await kept(stage, stage.alice.address) == before
        details = moved.body["details"]
        assert (details["limit"], details[limit]) == (limit, quoted.body[limit])
        assert details["market_id"] == market_id
        account = await stage.market_account(market_id)
        price = lmsr.price_yes(account.shares_yes, account.shares_no, account.b_parameter) / lmsr.SCALE
        assert details["price"] == price == details["fresh"]["quote"]["price_before"]
        if path == BUY:
            assert int(details["shares"]) < int(quoted.body["min_shares"])
        fresh = details["fresh"]
        assert set(fresh) == set(quoted.body)
        assert fresh["slippage_bps"] == quoted.body["slippage_bps"]
        if "shares" in amounts and path == BUY:
            assert (fresh["min_shares"], fresh["max_cost"]) == (str(SOL), str(2 * SOL))
        landed = await stage.alice.relay_quoted(fresh)
        assert landed.status == 200, landed.body
        assert_within_limits(landed, fresh)
        if path == BUY:
            await move_back(stage, market_id, True)


async def test_a_fresh_quote_never_breaks_a_limit_that_the_caller_stated(stage: Stage) -> None:
    market_id = await stage.active_market()
    market = {"market_id": market_id, "outcome": True}
    await stage.alice.carry_out(BUY, {**market, "target_cost": 5 * SOL})
    await move(stage, market_id, True, 20 * SOL)
    sold = await stage.alice.post(SELL, {**market, "shares": SOL})
    stated = {"min_proceeds": sold.body["min_proceeds"]}
    sale = await stage.alice.post(SELL, {**market, "shares": SOL, **stated})
    await move_back(stage, market_id, True)
    for_cost = await stage.alice.post(BUY, {**market, "target_cost": SOL, "min_shares": LEAST})
    of_shares = await stage.alice.post(BUY, {**market, "shares": SOL, "max_cost": SOL * 7 // 10})
    own = await hand_made(stage, market_id)

    late = await stage.alice.relay_quoted(sale.body)
    assert (late.status, late.body["details"]["fresh"]) == (409, None)
    await move(stage, market_id, True, 100 * SOL)
    for quoted in (for_cost, of_shares):
        assert quoted.status == 200, quoted.body
        late = await stage.alice.relay_quoted(quoted.body)
        assert (late.status, late.body["details"]["fresh"]) == (409, None), late.body
        assert "limit" in late.body["message"]
    late = await stage.alice.relay(own, min_shares=LEAST)
    assert (late.status, late.body["details"]["min_shares"]) == (409, str(LEAST))
    assert late.body["details"]["fresh"] is None
    assert late.body["details"]["price"] > 0.6
    assert (await stage.alice.relay(own, min_shares="1")).status == 200, "that limit holds"


async def test_a_purchase_that_costs_more_than_it_may_is_told_its_target_cost(stage: Stage) -> None:
    """The program sets a tenth aside for fees, whatever they are."""
    market_id = await stage.active_market()
    own = await hand_made(stage, market_id)
    await stage.as_authority(
        PROGRAM.update_global_config(
            admin=AUTHORITY.pubkey(),
            protocol_fee_bps=1_500,
            resolver_reward_bps=200,
            liquidity_provider_fee_bps=500,
            proposal_approval_threshold=7_000,
            dispute_success_threshold=6_000,
        )
    )
    late = await stage.alice.relay(own, min_shares=LEAST)
    assert (late.status, late.body["code"]) == (409, "price_moved"), late.body
    details = late.body["details"]
    assert (details["limit"], details["target_cost"], details["fresh"]) == ("target_cost", str(SOL), None)
    assert not details.keys() & {"shares", "min_shares"}


async def hand_made(stage: Stage, market_id: str) -> str:
    """A purchase by ALICE that the API has not quoted."""
    purchase = PROGRAM.buy_shares(
        user=ALICE.pubkey(),
        market=PROGRAM.pdas.market(bytes.fromhex(market_id)),
        protocol_fee_wallet=TREASURY,
        outcome=True,
        target_cost=SOL,
    )
    latest = await stage.api.rpc.latest_blockhash()
    budget = compute_budget(200_000)
    signed = sign([*budget, purchase], ALICE, latest.blockhash, latest.last_valid_block_height, "test")
    return base64.b64encode(signed.wire).decode()


async def test_a_purchase_is_not_passed_on_without_its_limits_or_with_those_of_another(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    one, other = await stage.alice.post(BUY, order), await stage.alice.post(BUY, {**order, "outcome": False})
    bobs = await stage.bob.post(BUY, order)
    signed = stage.alice.sign(one.body["transaction"])
    proposed = await stage.propose(question="Will it hail in Zürich tomorrow?")
    protection = one.body["protection"]

    async def problem(caller: Any, body: dict[str, Any]) -> str:
        refused = await caller.post("/api/transactions", body)
        assert (refused.status, refused.body["code"]) == (400, "invalid_request"), refused.body
        (found,) = refused.body["details"]
        return f"{found['field']} {found['message']}"

    assert "protection is required for a purchase" in await problem(stage.alice, {"transaction": signed})
    for strange in (other.body["protection"], bobs.body["protection"]):
        found = await problem(stage.alice, {"transaction": signed, "protection": strange})
        assert "protection is of another trade" in found
    tampered = ("A" if protection[40] != "A" else "B").join((protection[:40], protection[41:]))
    for strange in (tampered, protection[:-4], "AAAA", "é", "x" * 512):
        found = await problem(stage.alice, {"transaction": signed, "protection": strange})
        assert found.startswith("protection must be the unchanged text")
    both = {"transaction": signed, "protection": protection, "min_shares": 1}
    assert "min_shares must not be given with protection" in await problem(stage.alice, both)
    creation = stage.creator.sign(proposed.body["transaction"])
    needless = {"transaction": creation, "min_shares": 1}
    assert "min_shares is for purchases" in await problem(stage.creator, needless)
    assert await kept(stage, stage.alice.address) == 0

    async with running_api(database, redis_url, stage.rpc_url) as another_daemon:
        landed = await another_daemon.as_wallet(ALICE).relay(signed, protection=protection)
        assert landed.status == 200, "every daemon reads it"
        later = await another_daemon.as_wallet(ALICE).post(BUY, order)
        landed = await another_daemon.as_wallet(ALICE).relay(
            stage.alice.sign(later.body["transaction"]), protection=protection
        )
    assert landed.status == 409, "it has the limit of the first quote, whichever blockhash the same trade has"
    assert landed.body["details"]["min_shares"] == one.body["min_shares"] != later.body["min_shares"]


async def test_a_recorded_purchase_is_sent_only_while_it_brings_enough(
    stage: Stage, database: Database
) -> None:
    """By a daemon that starts after the one that took it has ended, and each time that it is sent again."""
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    quoted = await stage.alice.post(BUY, order)
    wire = base64.b64decode(stage.alice.sign(quoted.body["transaction"]))
    transaction = SignedTransaction(
        signature=str(ALICE.sign_message(wire[65:])),
        wire=wire,
        last_valid_block_height=quoted.body["last_valid_block_height"],
        purpose="relay",
        relayed_for=stage.alice.address,
        min_shares=int(quoted.body["min_shares"]),
    )
    outbox = DatabaseOutbox(database, TransactionSettings())
    await outbox.record(transaction)
    assert await outbox.pending() == [transaction]
    await move(stage, market_id, True, 20 * SOL)

    often = Terms(places=10, rebroadcasts=Rebroadcasts(0.02, 0.02, times=10_000))
    async with (
        node_before(stage.rpc_url) as node,
        Rpc(node.address, clock=SystemClock()) as rpc,
        Sender(rpc, outbox, SystemClock(), IDL, poll_seconds=0.01, relayed=often) as sender,
    ):
        await sender.resume()
        sending = await sender.begin_recorded(transaction)
        async with asyncio.timeout(PATIENT_SECONDS):
            while node.requests["simulateTransaction"] < 4:  # noqa: ASYNC110 - it is a number in the node
                await asyncio.sleep(0.01)
        assert node.requests["sendTransaction"] == 0
        pause = PROGRAM.emergency_pause(admin=AUTHORITY.pubkey())
        await stage.as_authority(pause)
        simulated = node.requests["simulateTransaction"]
        async with asyncio.timeout(PATIENT_SECONDS):
            while node.requests["simulateTransaction"] < simulated + 4:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert node.requests["sendTransaction"] == 0, (
            "it fails now, and may bring too few when it is in a block"
        )
        # The memo makes another transaction of it, also where the blockhash is the same.
        await stage.as_authority(pause, Instruction(MEMO_PROGRAM, b"again", []))
        await move_back(stage, market_id, True)
        async with asyncio.timeout(PATIENT_SECONDS):
            await sending.landed()
        assert node.requests["sendTransaction"] > 0
    bought = (await stage.position_account(market_id, ALICE)).shares_yes
    assert bought >= int(quoted.body["min_shares"])
