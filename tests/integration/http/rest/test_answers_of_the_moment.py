"""Under an Idempotency-Key only what cannot change is answered again; what was of the moment is made anew."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from solders.message import Message
from solders.transaction import Transaction

from tests.integration.chain.chain_nodes import LOST, node_before
from tests.integration.http.rest.rest_api import Answer, Caller, running_api
from tests.integration.http.rest.rest_stage import ALICE, PROPOSAL, SOL, Stage, running_stage
from zmartd.config import TransactionSettings
from zmartd.embedded.localnet.chain.blocks import blockhash_blocks
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database

SLOT_MILLISECONDS = 200
BLOCKHASH_LIVES_FOR_BLOCKS = blockhash_blocks(SLOT_MILLISECONDS)
PATIENT_SECONDS = 120
PAUSE_SECONDS = 0.05


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain on which a blockhash ends when the test says so, and else after a minute."""
    async with running_stage(database, redis_url, tmp_path, slot_milliseconds=SLOT_MILLISECONDS) as stage:
        yield stage


async def keyed(caller: Caller, path: str, body: Any = None, key: str = "a-key") -> Answer:
    headers = {**caller.headers, "Idempotency-Key": key}
    response = await caller.client.post(path, json=body, headers=headers)
    return Answer(response.status, await response.json(), dict(response.headers))


def replayed(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def order(market_id: str, target_cost: int = SOL) -> dict[str, Any]:
    return {"market_id": market_id, "outcome": True, "target_cost": str(target_cost)}


async def until(ask: Callable[[], Awaitable[Answer]], status: int) -> Answer:
    """The first answer that has this status."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            answer = await ask()
            if answer.status == status:
                return answer
            await asyncio.sleep(PAUSE_SECONDS)


async def let_blockhashes_end(stage: Stage) -> None:
    """End the blockhashes of all transactions so far, and wait until the API builds on a newer one: it asks
    for the latest once a second."""
    proposal = {**PROPOSAL, "question": "Will BOB propose this?", "end_date": await stage.in_days(30)}

    async def last_height() -> int:
        answer = await stage.bob.post("/api/markets", proposal)
        return int(answer.body["last_valid_block_height"])

    before = await last_height()
    await stage.cheat("zmartd_advanceSlots", {"slots": BLOCKHASH_LIVES_FOR_BLOCKS + 2})
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            if await last_height() > before + BLOCKHASH_LIVES_FOR_BLOCKS:
                return
            await asyncio.sleep(PAUSE_SECONDS)


async def test_a_key_used_while_the_market_was_pending_serves_once_it_is_there(stage: Stage) -> None:
    proposed = await stage.propose()
    market_id = proposed.body["market"]["id"]
    for _ in range(2):
        pending = await keyed(stage.alice, "/api/trades/buy", order(market_id))
        assert (pending.status, pending.body["code"], replayed(pending)) == (409, "market_pending", False)
    assert (await stage.creator.relay(stage.creator.sign(proposed.body["transaction"]))).status == 200
    early = await keyed(stage.alice, "/api/trades/buy", order(market_id))
    assert (early.status, early.body["code"]) == (409, "wrong_state")
    await stage.activate(market_id)
    bought = await keyed(stage.alice, "/api/trades/buy", order(market_id))
    assert (bought.status, replayed(bought)) == (200, False)
    again = await keyed(stage.alice, "/api/trades/buy", order(market_id))
    assert (again.status, again.body, replayed(again)) == (200, bought.body, True)
    other = await keyed(stage.alice, "/api/trades/buy", order(market_id, 2 * SOL))
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")


async def test_a_transaction_is_made_anew_when_its_blockhash_has_ended_and_a_trade_is_not(
    stage: Stage,
) -> None:
    """A vote counts once, whichever transaction lands; a second purchase would be another one."""
    market_id = await stage.active_market()
    proposed = await stage.propose(question="Will it hail in Zürich tomorrow?")
    assert (await stage.creator.relay_quoted(proposed.body)).status == 200
    vote = {"market_id": proposed.body["market"]["id"], "vote": True}
    path = "/api/votes/proposal/transaction"
    first = await keyed(stage.alice, path, vote)
    quoted = await keyed(stage.alice, "/api/trades/buy", order(market_id), "of-the-trade")
    assert (await keyed(stage.alice, path, vote)).body == first.body
    await let_blockhashes_end(stage)

    other = await keyed(stage.alice, path, {**vote, "vote": False})
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")
    at_once = await asyncio.gather(*(keyed(stage.alice, path, vote) for _ in range(6)))
    (anew,) = (answer for answer in at_once if answer.status == 200 and not replayed(answer))
    assert anew.body["last_valid_block_height"] > first.body["last_valid_block_height"]
    for answer in at_once:
        if answer.status == 200:
            assert answer.body == anew.body
        else:
            assert (answer.status, answer.body["code"]) == (409, "still_under_way")
    later = await keyed(stage.alice, path, vote)
    assert (later.body, replayed(later)) == (anew.body, True)
    assert (await stage.alice.relay_quoted(anew.body)).status == 200
    dead = await stage.alice.relay_quoted(first.body)
    assert (dead.status, dead.body["code"]) == (409, "transaction_expired")

    for _ in range(2):
        void = await keyed(stage.alice, "/api/trades/buy", order(market_id), "of-the-trade")
        assert (void.status, void.body["code"]) == (409, "quote_expired")
        assert "GET /api/transactions/{signature}" in void.body["message"]
    fresh = await keyed(stage.alice, "/api/trades/buy", order(market_id), "of-the-next-trade")
    assert fresh.body["last_valid_block_height"] > quoted.body["last_valid_block_height"]


async def test_a_quote_stays_the_same_up_to_its_last_block(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    first = await keyed(stage.alice, "/api/trades/buy", order(market_id))
    last = first.body["last_valid_block_height"]
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        node.instead("getBlockHeight", last, last + 1)
        again = await keyed(api.as_wallet(ALICE), "/api/trades/buy", order(market_id))
        assert (again.body, replayed(again)) == (first.body, True)
        void = await keyed(api.as_wallet(ALICE), "/api/trades/buy", order(market_id))
        assert (void.status, void.body["code"]) == (409, "quote_expired")


async def test_a_registration_is_made_once_and_its_transaction_as_often_as_it_ends(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    body = {
        "question": "Will it snow in Zürich tomorrow?",
        "category": "science",
        "end_date": end_date,
        "initial_liquidity": str(10 * SOL),
    }
    first = await keyed(stage.creator, "/api/markets", body)
    again = await keyed(stage.creator, "/api/markets", body)
    assert (first.status, again.status, again.body, replayed(again)) == (201, 201, first.body, True)
    await let_blockhashes_end(stage)
    anew = await keyed(stage.creator, "/api/markets", body)
    assert (anew.status, replayed(anew)) == (200, False)
    assert anew.body["market"]["id"] == first.body["market"]["id"]
    assert blockhash(anew) != blockhash(first)
    assert (await stage.creator.relay(stage.creator.sign(anew.body["transaction"]))).status == 200


def blockhash(answer: Answer) -> str:
    message: Message = Transaction.from_bytes(base64.b64decode(answer.body["transaction"])).message
    assert str(message.recent_blockhash) == answer.body["blockhash"]
    return str(message.recent_blockhash)


async def test_what_a_node_that_was_away_could_not_do_is_done_when_it_is_back(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        alice = api.as_wallet(ALICE)
        node.down = 503
        away = await keyed(alice, "/api/trades/buy", order(market_id))
        assert (away.status, away.body["code"]) == (503, "rpc_unavailable")
        node.down = None
        bought = await keyed(alice, "/api/trades/buy", order(market_id))
        assert (bought.status, replayed(bought)) == (200, False)
        node.down = 503
        unsure = await keyed(alice, "/api/trades/buy", order(market_id))
        assert (unsure.status, unsure.body["code"]) == (503, "rpc_unavailable")
        node.down = None
        again = await keyed(alice, "/api/trades/buy", order(market_id))
        assert (again.body, replayed(again)) == (bought.body, True)


async def test_what_was_one_too_many_is_relayed_when_there_is_room(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    first, second = [
        {"transaction": stage.alice.sign(quote.body["transaction"]), "protection": quote.body["protection"]}
        for quote in [
            await stage.alice.post("/api/trades/buy", order(market_id, cost)) for cost in (SOL, 2 * SOL)
        ]
    ]
    one_at_a_time = TransactionSettings(max_pending_per_wallet=1)
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address, 0.05, transactions=one_at_a_time) as api,
    ):
        alice = api.as_wallet(ALICE)
        node.instead("sendTransaction", *[LOST] * 100)
        assert (await alice.post("/api/transactions", first)).status == 202
        full = await keyed(alice, "/api/transactions", second)
        assert (full.status, full.body["code"]) == (429, "too_many_pending")
        relayed = await until(lambda: keyed(stage.alice, "/api/transactions", second), 200)
    assert not replayed(relayed)


async def test_what_is_under_way_is_told_as_it_is_now(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    unsigned = await stage.alice.post("/api/trades/buy", order(market_id))
    body = {
        "transaction": stage.alice.sign(unsigned.body["transaction"]),
        "protection": unsigned.body["protection"],
    }
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address, 0.05) as api,
    ):
        node.instead("sendTransaction", *[LOST] * 100)
        waiting = await keyed(api.as_wallet(ALICE), "/api/transactions", body)
        assert (waiting.status, waiting.body["status"]) == (202, "submitted")
        told = await until(lambda: keyed(stage.alice, "/api/transactions", body), 200)
    assert (told.body["status"], replayed(told)) == ("confirmed", False)
    assert (await stage.position_account(market_id, ALICE)).trades_count == 1


def test_every_operation_with_a_transaction_to_sign_declares_it() -> None:
    carrying = {f"{one.method} {one.path}" for one in OPERATIONS if one.carries_transaction}
    actions = ("activate", "cancel", "claim", "dispute", "resolve", "withdraw")
    assert carrying == {
        "POST /api/markets",
        "POST /api/trades/buy",
        "POST /api/trades/sell",
        "POST /api/votes/dispute/transaction",
        "POST /api/votes/proposal/transaction",
        *(f"POST /api/markets/{{id}}/{action}" for action in actions),
    }
