from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from aiohttp import web
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import node_before, refused
from tests.integration.http.rest.rest_api import PROGRAM, Answer, running_api
from tests.integration.http.rest.rest_stage import ALICE, BOB, SOL, Stage
from tests.integration.store.expiry import delete_expired
from zmartd.chain.assemble import build_transaction, compute_budget, sign
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.chain.transport import MAX_IN_FLIGHT
from zmartd.config import TransactionSettings
from zmartd.daemon import MAX_API_RPC_REQUESTS
from zmartd.embedded.localnet.chain.blocks import blockhash_blocks
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.reconcile.reorgs import ReorgCheck
from zmartd.market.ids import masked
from zmartd.store.postgres.database import Database
from zmartd.transactions.lookup_limit import LOOKUPS_PER_MINUTE
from zmartd.transactions.outbox import DatabaseOutbox

PATIENT_SECONDS = 120


def buy(market_id: str, wallet: Keypair, target_cost: int = SOL) -> list[Instruction]:
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    return [
        *compute_budget(100_000),
        PROGRAM.buy_shares(
            user=wallet.pubkey(),
            market=market,
            protocol_fee_wallet=Pubkey([3] * 32),
            outcome=True,
            target_cost=target_cost,
        ),
    ]


async def signed_buy(
    stage: Stage, market_id: str, target_cost: int = SOL, wallet: Keypair = ALICE
) -> tuple[str, str]:
    """A buy that nobody simulated: its base64 and its signature."""
    latest = await stage.api.rpc.latest_blockhash()
    transaction = sign(
        buy(market_id, wallet, target_cost), wallet, latest.blockhash, latest.last_valid_block_height, "test"
    )
    return base64.b64encode(transaction.wire).decode(), transaction.signature


async def answer_of(stage: Stage, signature: str, unlike: int) -> Answer:
    """The first answer about a transaction that does not have the status `unlike`."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            answer = await stage.api.anybody.get(f"/api/transactions/{signature}")
            if answer.status != unlike:
                return answer


async def test_the_same_bytes_have_one_effect_and_one_answer(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)

    at_once = await asyncio.gather(*(stage.alice.relay(transaction) for _ in range(5)))
    later = await stage.alice.relay(transaction)

    assert [answer.status for answer in [*at_once, later]] == [200] * 6
    assert all(answer.body == later.body for answer in at_once)
    assert later.body["signature"] == signature
    asked = await stage.alice.get(f"/api/transactions/{signature}")
    assert (asked.status, asked.body) == (200, later.body)
    assert (await stage.position_account(market_id, ALICE)).trades_count == 1


async def test_what_a_fork_took_is_sent_anew_with_the_same_bytes(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    await stage.cheat("zmartd_holdFinality", {"hold": True})
    fork = await stage.cheat("getSlot", {"commitment": "processed"})
    landed = await stage.alice.relay(transaction)
    assert landed.status == 200
    assert await stage.cheat("zmartd_rollback", {"fromSlot": fork}) == [signature]
    while await stage.cheat("getSlot", {"commitment": "confirmed"}) < landed.body["slot"]:
        await stage.cheat("zmartd_advanceSlots", {"slots": 1})
    await stage.api.indexer.roll_back([TransactionInSlot(landed.body["slot"], signature)])
    retracted = await stage.api.anybody.get(f"/api/transactions/{signature}")
    assert (retracted.status, retracted.body["code"]) == (404, "transaction_retracted")

    again = await stage.alice.relay(transaction)
    assert again.status == 200
    assert again.body["slot"] > landed.body["slot"]
    assert (await stage.position_account(market_id, ALICE)).trades_count == 1

    await stage.cheat("zmartd_rollback", {"fromSlot": again.body["slot"]})
    await stage.cheat("zmartd_holdFinality", {"hold": False})
    await stage.cheat("zmartd_advanceSlots", {"slots": blockhash_blocks(20) + 100})
    late = await stage.alice.relay(transaction)
    assert (late.status, late.body["code"]) == (409, "transaction_expired")


async def test_a_relayed_trade_can_be_read_at_once(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    await stage.alice.relay(transaction)
    trades = await stage.api.anybody.get(f"/api/markets/{market_id}/trades")
    assert [trade["tx_signature"] for trade in trades.body["trades"]] == [signature]


async def settled(stage: Stage, signature: str) -> Answer:
    """The first answer that says that a transaction is final, while the daemon looks for what is."""
    api = stage.api
    reorgs = ReorgCheck(api.rpc, api.fetcher, api.database, PROGRAM.program_id, max_fetched=100)
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            await reorgs.run()
            answer = await stage.alice.get(f"/api/transactions/{signature}")
            if answer.status == 200 and answer.body["commitment"] == "finalized":
                return answer


async def test_a_transaction_is_final_once_the_chain_cannot_take_it_back(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    relayed = await stage.alice.relay(transaction)
    assert (relayed.body["status"], relayed.body["commitment"]) == ("confirmed", "confirmed")

    final = await settled(stage, signature)

    assert final.body == relayed.body | {"commitment": "finalized"}
    again = await stage.alice.relay(transaction)
    assert (again.status, again.body) == (200, final.body)
    trades = await stage.api.anybody.get(f"/api/markets/{market_id}/trades")
    assert trades.body["trades"][0]["commitment"] == "finalized"


async def test_a_payment_past_the_program_is_as_final_as_the_chain_says(
    stage: Stage,
) -> None:
    latest = await stage.api.rpc.latest_blockhash()
    payment = transfer(TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=BOB.pubkey(), lamports=SOL))
    signed = sign([payment], ALICE, latest.blockhash, latest.last_valid_block_height, "test")
    await stage.api.rpc.send(signed.wire)
    first = await answer_of(stage, signed.signature, unlike=404)
    assert (first.status, first.body["events"]) == (200, [])
    assert (await settled(stage, signed.signature)).body["slot"] == first.body["slot"]


async def is_kept(stage: Stage, signature: str) -> bool:
    async with stage.api.database.service() as connection:
        return bool(
            await connection.fetchval(
                "select exists (select from outbox_transactions where signature = $1)", signature
            )
        )


async def test_what_would_fail_is_told_in_the_program_s_words_and_nothing_of_it_is_kept(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id, target_cost=9_999)

    first, second = await stage.alice.relay(transaction), await stage.alice.relay(transaction)

    assert not await is_kept(stage, signature)
    asked = await stage.api.anybody.get(f"/api/transactions/{signature}")
    assert (asked.status, asked.body["code"]) == (404, "transaction_not_found")
    for answer in (first, second):
        assert answer.status == 422
        assert answer.body == {
            "error": "TradeTooSmall",
            "code": "trade_too_small",
            "message": first.body["message"],
            "status": 422,
            "details": {"program_error": 6018, "signature": signature},
            "request_id": answer.body["request_id"],
        }
    assert await stage.api.rpc.transaction(signature) is None


async def test_a_wallet_without_a_lamport_leaves_nothing_behind(stage: Stage) -> None:
    market_id = await stage.active_market()
    nobody = Keypair()
    transaction, signature = await signed_buy(stage, market_id, wallet=nobody)
    refused = await stage.api.as_wallet(nobody).relay(transaction)
    assert (refused.status, refused.body["code"]) == (422, "insufficient_funds")
    assert refused.body["details"]["has"] == "0"
    assert not await is_kept(stage, signature)


async def test_what_is_no_longer_kept_is_answered_from_the_chain(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    relayed = await stage.alice.relay(transaction)
    async with stage.api.database.service() as connection:
        await connection.execute(
            "update outbox_transactions set settled_at = settled_at - interval '31 days'"
        )
    await delete_expired(stage.api.database, "outbox_transactions")
    another, _ = await signed_buy(stage, market_id, 2 * SOL)
    await stage.alice.relay(another)

    assert not await is_kept(stage, signature)
    asked = await stage.alice.get(f"/api/transactions/{signature}")
    again = await stage.alice.relay(transaction)
    assert (asked.status, asked.body) == (again.status, again.body) == (200, relayed.body)
    assert (await stage.position_account(market_id, ALICE)).trades_count == 2


async def test_what_fails_on_the_chain_is_always_answered_the_same(stage: Stage) -> None:
    """Sent by somebody who skips the simulation; the daemon is asked about it afterwards."""
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id, target_cost=9_999)
    await stage.api.rpc.broadcast(base64.b64decode(transaction))
    asked = await answer_of(stage, signature, unlike=404)
    relayed = await stage.alice.relay(transaction)
    for answer in (asked, relayed):
        assert (answer.status, answer.body["code"]) == (422, "trade_too_small")
        assert answer.body["details"] == {"program_error": 6018, "signature": signature}


async def test_a_transaction_that_can_never_land_has_expired(stage: Stage) -> None:
    market_id = await stage.active_market()
    blockhash = Hash.hash(b"a block that never was")
    transaction = sign(buy(market_id, ALICE), ALICE, blockhash, 1, "test")
    for _ in range(2):
        answer = await stage.alice.relay(base64.b64encode(transaction.wire).decode())
        assert (answer.status, answer.body["code"]) == (409, "transaction_expired")
        assert answer.body["message"] == (
            "The transaction did not land in time and never will. Build, sign and send a new one."
        )
    assert not await is_kept(stage, transaction.signature)


async def test_what_somebody_else_sent_is_answered_like_our_own(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    await stage.api.rpc.send(base64.b64decode(transaction))
    asked = await answer_of(stage, signature, unlike=404)
    assert [event["name"] for event in asked.body["events"]] == ["SharesBought"]
    relayed = await stage.alice.relay(transaction)
    asked = await stage.alice.get(f"/api/transactions/{signature}")
    assert (relayed.status, relayed.body) == (200, asked.body)
    trades = await stage.api.anybody.get(f"/api/markets/{market_id}/trades")
    assert trades.body["count"] == 1


async def test_a_node_that_cannot_show_a_transaction_is_asked_ever_more_rarely(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    await stage.api.rpc.broadcast(base64.b64decode(transaction))
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address, patience_seconds=3.0) as api,
    ):
        node.instead("getTransaction", *[None] * 1_000)
        answer = await api.as_wallet(ALICE).relay(transaction)
    assert (answer.status, answer.body) == (202, {"signature": signature, "status": "submitted"})
    assert node.requests == {"simulateTransaction": 1, "getTransaction": node.requests["getTransaction"]}
    assert node.requests["getTransaction"] <= 4
    assert not await is_kept(stage, signature)


async def test_who_traded_is_told_only_to_who_signed_in(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    relayed = await stage.alice.relay(transaction)
    anonymous = await stage.api.anybody.get(f"/api/transactions/{signature}")
    (whole,), (shortened,) = relayed.body["events"], anonymous.body["events"]
    assert whole["user"] == stage.alice.address
    assert shortened == whole | {"user": masked(stage.alice.address)}


async def test_what_the_lists_have_is_confirmed_though_its_sender_does_not_know_yet(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    wire = base64.b64decode(transaction)
    outbox = DatabaseOutbox(stage.api.database, TransactionSettings())
    await outbox.record(SignedTransaction(signature, wire, last_valid_block_height=2**40, purpose="test"))
    assert (await stage.api.anybody.get(f"/api/transactions/{signature}")).status == 202
    await stage.api.rpc.send(wire)
    async with asyncio.timeout(PATIENT_SECONDS):
        while (await stage.api.fetcher.fetch([signature])).not_found:  # noqa: ASYNC110 - the node shows it when it likes
            await asyncio.sleep(0.02)
    await stage.api.fetcher.apply_signature(signature)
    assert (await stage.api.anybody.get(f"/api/transactions/{signature}")).status == 200


async def test_a_transaction_that_the_node_does_not_give_is_told_by_its_status(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    landed, failed, unknown = [await signed_buy(stage, market_id, cost) for cost in (SOL, 9_999, 2 * SOL)]
    for transaction, _ in (landed, failed):
        await stage.api.rpc.broadcast(base64.b64decode(transaction))
    async with asyncio.timeout(PATIENT_SECONDS):
        while (await stage.api.fetcher.fetch([landed[1], failed[1]])).not_found:  # noqa: ASYNC110 - the node shows them when it likes
            await asyncio.sleep(0.02)
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        for _, signature in (landed, failed, unknown):
            node.always(signature, refused(-32015, "Transaction version (2) is not supported"))
        for caller in (api.anybody, api.as_wallet(ALICE)):
            answer = await caller.get(f"/api/transactions/{landed[1]}")
            assert (answer.status, answer.body["status"], answer.body["events"]) == (200, "confirmed", [])
            assert answer.body["events_complete"] is False
            assert (answer.body["slot"] > 0, answer.body["block_time"]) == (True, None)
        answer = await api.anybody.get(f"/api/transactions/{failed[1]}")
        assert (answer.status, answer.body["code"]) == (422, "trade_too_small")
        answer = await api.anybody.get(f"/api/transactions/{unknown[1]}")
        assert (answer.status, answer.body["code"]) == (404, "transaction_not_found")
        node.instead("getTransaction", *[refused(-32011, "Transaction history is not available")] * 2)
        answer = await api.anybody.get(f"/api/transactions/{landed[1]}")
        assert (answer.status, answer.body["code"]) == (503, "rpc_rejected")
        node.behave()
        answer = await api.anybody.get(f"/api/transactions/{landed[1]}")
        assert [event["name"] for event in answer.body["events"]] == ["SharesBought"]
        assert answer.body["events_complete"] is True
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from parked_transactions") == 0, "anybody can ask"


async def test_a_caller_who_has_waited_long_enough_is_told_to_ask_again(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    async with running_api(database, redis_url, stage.rpc_url, patience_seconds=0.0) as impatient:
        caller = impatient.as_wallet(ALICE)
        answer = await caller.relay(transaction)
        assert (answer.status, answer.body) == (202, {"signature": signature, "status": "submitted"})
        assert answer.headers["Location"] == f"/api/transactions/{signature}"
        answer = await answer_of(stage, signature, unlike=202)
    assert [event["name"] for event in answer.body["events"]] == ["SharesBought"]


async def test_another_wallets_transaction_is_not_passed_on(stage: Stage) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    refused = await stage.bob.relay(transaction)
    assert (refused.status, refused.body["code"]) == (400, "transaction_refused")
    assert refused.body["message"] == (
        f"The fee payer must be the signed-in wallet, {BOB.pubkey()}, not {ALICE.pubkey()}."
    )
    assert not await is_kept(stage, signature)


async def lost(stage: Stage, transactions: int) -> None:
    """The chain's node takes so many of the coming transactions and loses them."""
    await stage.cheat("zmartd_setFaults", {"rpc": {"loseNext": transactions}})


async def test_a_wallet_has_so_many_transactions_under_way_whichever_daemons_it_asks(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    await lost(stage, 1_000)
    limit = TransactionSettings().max_pending_per_wallet
    async with (
        running_api(database, redis_url, stage.rpc_url, patience_seconds=0.0) as one,
        running_api(database, redis_url, stage.rpc_url, patience_seconds=0.0) as other,
    ):
        made = [(await signed_buy(stage, market_id, SOL + number))[0] for number in range(limit)]
        for number, transaction in enumerate(made):
            daemon = one if number % 2 else other
            assert (await daemon.as_wallet(ALICE).relay(transaction)).status == 202

        one_more, signature = await signed_buy(stage, market_id, 2 * SOL)
        for daemon in (one, other):
            refused = await daemon.as_wallet(ALICE).relay(one_more)
            assert (refused.status, refused.body["code"]) == (429, "too_many_pending")
            assert refused.body["details"]["limit"] == limit
            assert refused.headers["Retry-After"] == "5"
            assert not await is_kept(stage, signature)
            for transaction in made:
                assert (await daemon.as_wallet(ALICE).relay(transaction)).status == 202
        of_another, _ = await signed_buy(stage, market_id, wallet=BOB)
        assert (await one.as_wallet(BOB).relay(of_another)).status == 202

        await lost(stage, 0)
        async with asyncio.timeout(PATIENT_SECONDS):
            while (await one.as_wallet(ALICE).relay(one_more)).status == 429:  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.1)


async def test_relaying_asks_the_node_no_more_than_it_has_to(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    good, _ = await signed_buy(stage, market_id)
    bad, _ = await signed_buy(stage, market_id, target_cost=9_999)
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        assert (await api.as_wallet(ALICE).relay(bad)).status == 422
        assert node.requests == {"simulateTransaction": 1}
        node.requests.clear()
        assert (await api.as_wallet(ALICE).relay(good)).status == 200
    polls = node.requests.pop("getSignatureStatuses")
    fetches = node.requests.pop("getTransaction")
    # What was fetched is held against the chain's time, which is asked for every 30 seconds.
    assert node.requests.pop("getMultipleAccounts", 0) <= 1
    assert polls > 0
    assert fetches > 0
    assert node.requests == {"simulateTransaction": 1, "getLatestBlockhash": 1, "sendTransaction": 1}


async def test_what_its_node_cannot_simulate_is_refused_in_the_node_s_words(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    error = {"code": -32602, "message": "invalid transaction: too many accounts"}
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        node.instead(
            "simulateTransaction", lambda: web.json_response({"jsonrpc": "2.0", "id": 1, "error": error})
        )
        refused = await api.as_wallet(ALICE).relay(transaction)
    assert (refused.status, refused.body["code"]) == (422, "node_refused")
    assert refused.body["message"] == "invalid transaction: too many accounts"
    assert not await is_kept(stage, signature)


async def test_an_unsigned_transaction_is_not_passed_on(stage: Stage) -> None:
    market_id = await stage.active_market()
    latest = await stage.api.rpc.latest_blockhash()
    unsigned = build_transaction(buy(market_id, ALICE), ALICE.pubkey(), latest.blockhash)
    refused = await stage.alice.relay(base64.b64encode(unsigned).decode())
    assert refused.body["message"] == (
        f"The transaction is not signed yet; sign it with its fee payer, {ALICE.pubkey()}, then send it."
    )


@pytest.mark.parametrize("body", [{}, {"transaction": ""}, {"transaction": 7}, {"transaction": None}])
async def test_a_request_without_a_transaction_is_told_so(stage: Stage, body: dict[str, object]) -> None:
    refused = await stage.alice.post("/api/transactions", body)
    assert (refused.status, refused.body["details"][0]["field"]) == (400, "transaction")


async def test_relaying_needs_a_session(stage: Stage) -> None:
    anonymous = await stage.api.anybody.relay("AAAA")
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")


async def test_an_unknown_signature_is_not_found_and_a_bad_one_is_refused(stage: Stage) -> None:
    signature = str(ALICE.sign_message(b"nothing"))
    unknown = await stage.api.anybody.get(f"/api/transactions/{signature}")
    assert (unknown.status, unknown.body["code"]) == (404, "transaction_not_found")
    for text in ("x", "0" * 88, "1" * 200):
        refused = await stage.api.anybody.get(f"/api/transactions/{text}")
        assert (refused.status, refused.body["details"][0]["field"]) == (400, "signature")


async def test_unknown_signatures_cost_no_more_calls_than_a_minute_has(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    transaction, known = await signed_buy(stage, market_id)
    await stage.alice.relay(transaction)
    signatures = [str(ALICE.sign_message(bytes([number]))) for number in range(LOOKUPS_PER_MINUTE)]
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        for signature in [*signatures, signatures[-1]]:
            assert (await api.anybody.get(f"/api/transactions/{signature}")).status == 404
        assert node.requests == {"getTransaction": LOOKUPS_PER_MINUTE}

        one_more = str(ALICE.sign_message(b"one more"))
        refused = await api.anybody.get(f"/api/transactions/{one_more}")
        assert (refused.status, refused.body["code"]) == (503, "lookups_exhausted")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert node.requests == {"getTransaction": LOOKUPS_PER_MINUTE}

        dead = sign(buy(market_id, ALICE), ALICE, Hash.hash(b"a block that never was"), 1, "test")
        refused = await api.as_wallet(ALICE).relay(base64.b64encode(dead.wire).decode())
        assert (refused.status, refused.body["code"]) == (503, "lookups_exhausted")
        assert node.requests["getTransaction"] == LOOKUPS_PER_MINUTE

        outbox = DatabaseOutbox(database, TransactionSettings())
        await outbox.record(dead)
        await outbox.record_fate(dead.signature, Fate.FAILED, 1, "TradeTooSmall")
        refused = await api.anybody.get(f"/api/transactions/{dead.signature}")
        assert (refused.status, refused.body["code"]) == (503, "lookups_exhausted")
        assert node.requests["getTransaction"] == LOOKUPS_PER_MINUTE

        for _ in range(3):
            assert (await api.anybody.get(f"/api/transactions/{known}")).status == 200
        assert node.requests["getTransaction"] == LOOKUPS_PER_MINUTE


async def test_what_the_index_has_of_a_transaction_is_told_without_the_node(
    stage: Stage, database: Database, redis_url: str
) -> None:
    market_id = await stage.active_market()
    transaction, signature = await signed_buy(stage, market_id)
    relayed = await stage.alice.relay(transaction)
    final = await settled(stage, signature)
    async with running_api(database, redis_url) as api:  # at no node
        told = await api.as_wallet(ALICE).get(f"/api/transactions/{signature}")
    assert (told.status, told.body) == (200, final.body)
    assert final.body == relayed.body | {"commitment": "finalized"}


async def test_what_the_index_cannot_tell_of_counts_as_a_look_up(
    stage: Stage, database: Database, redis_url: str
) -> None:
    latest = await stage.api.rpc.latest_blockhash()
    payment = transfer(TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=BOB.pubkey(), lamports=SOL))
    signed = sign([payment], ALICE, latest.blockhash, latest.last_valid_block_height, "test")
    await stage.api.rpc.send(signed.wire)
    found = await answer_of(stage, signed.signature, unlike=404)
    async with database.service() as connection:
        await connection.execute(
            "insert into eventless_transactions (tx_signature, slot) values ($1, $2)",
            signed.signature,
            found.body["slot"],
        )
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        path = f"/api/transactions/{signed.signature}"
        answers = [await api.anybody.get(path) for _ in range(LOOKUPS_PER_MINUTE + 1)]
        assert [answer.status for answer in answers] == [200] * LOOKUPS_PER_MINUTE + [503]
        assert answers[0].body == found.body | {"commitment": "finalized"}
        assert node.requests["getTransaction"] == LOOKUPS_PER_MINUTE


async def test_callers_that_take_all_their_places_at_the_node_leave_the_rest_to_the_market(
    stage: Stage, database: Database, redis_url: str
) -> None:
    released = asyncio.Event()

    async def once_released() -> web.Response:
        await released.wait()
        return web.json_response({"jsonrpc": "2.0", "id": 0, "result": None})

    signatures = [str(ALICE.sign_message(bytes([number]))) for number in range(MAX_IN_FLIGHT + 1)]
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        node.instead("getTransaction", *[once_released] * len(signatures))
        asked = [asyncio.create_task(api.anybody.get(f"/api/transactions/{one}")) for one in signatures]
        async with asyncio.timeout(PATIENT_SECONDS):
            while node.requests["getTransaction"] < MAX_API_RPC_REQUESTS:  # noqa: ASYNC110 - it is a number in the node
                await asyncio.sleep(0.01)
            assert await api.rpc.slot() > 0
        assert node.requests["getTransaction"] == MAX_API_RPC_REQUESTS < MAX_IN_FLIGHT
        released.set()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {404}


async def test_without_a_chain_callers_are_asked_to_come_back(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_api(database, redis_url) as api:
        transaction = sign(buy("ab" * 32, ALICE), ALICE, Hash.hash(b"any"), 1, "test")
        answer = await api.as_wallet(ALICE).relay(base64.b64encode(transaction.wire).decode())
    assert (answer.status, answer.body["code"]) == (503, "rpc_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert answer.body["message"] == "The Solana RPC node does not answer; try again in a moment."
