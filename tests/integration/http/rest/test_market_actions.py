from __future__ import annotations

import asyncio
import base64
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

from solders.keypair import Keypair
from solders.system_program import ID as SYSTEM_PROGRAM_ID

from tests.integration.http.rest.rest_api import PROGRAM, Answer
from tests.integration.http.rest.rest_stage import ALICE, AUTHORITY, BOB, CREATOR, SOL, Stage, running_stage
from tests.statements import execute
from zmartd.chain.assemble import compute_budget, sign
from zmartd.chain.program_accounts import find_config
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.config import TransactionSettings, VotingSettings
from zmartd.market.ids import cid_v0
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.messages import Gap, MarketUpdate, Message
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

EVIDENCE = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
DAY = 86_400
CANCEL_WHO_WAITS = """
select pg_cancel_backend(pid) from pg_locks where relation = 'stream_messages'::regclass and not granted
"""
EARLY = {"early": True, "early_reason": "It has rained since noon."}


async def resolved_market(stage: Stage, outcome: bool = True) -> str:
    """A market in which ALICE holds YES and BOB holds NO, and whose creator says `outcome`."""
    market_id = await stage.active_market()
    order = {"market_id": market_id, "target_cost": 5 * SOL}
    await stage.alice.carry_out("/api/trades/buy", {**order, "outcome": True})
    await stage.bob.carry_out("/api/trades/buy", {**order, "outcome": False})
    await stage.travel(DAY)
    resolved = await stage.creator.carry_out(
        f"/api/markets/{market_id}/resolve", {"outcome": outcome, "ipfs_evidence_hash": EVIDENCE, **EARLY}
    )
    assert resolved.status == 200, resolved.body
    return market_id


async def finalize(stage: Stage, market_id: str) -> None:
    await stage.travel(4 * DAY)
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    await stage.as_authority(PROGRAM.finalize_market(backend_authority=AUTHORITY.pubkey(), market=market))


async def shown(stage: Stage, market_id: str) -> dict[str, Any]:
    return dict((await stage.api.anybody.get(f"/api/markets/{market_id}")).body)


def what_is_open(market: dict[str, Any]) -> dict[str, bool]:
    return {step["action"]: step["open"] for step in market["next"]}


def assert_wrong_state(
    answer: Answer, error: str, state: str, expected_states: list[str], message: str
) -> None:
    """What is refused in a wrong state says which it is, which are right, and what can happen now."""
    assert (answer.status, answer.body["code"]) == (409, "wrong_state")
    assert answer.body["message"] == f"This market is now {state}; {message}"
    details = answer.body["details"]
    assert (details["state"], details["expected_states"]) == (state, expected_states)
    assert details["program_error_name"] == error
    assert details["next"]


async def test_a_market_lives_from_the_proposal_to_the_last_lamport(stage: Stage) -> None:
    market_id = await resolved_market(stage)
    body = await shown(stage, market_id)
    assert (body["state"], body["proposed_outcome"], body["proposed_outcome_label"]) == (
        "RESOLVING",
        True,
        "YES",
    )
    assert (body["resolver_wallet"], body["evidence_cid"]) == (str(CREATOR.pubkey()), EVIDENCE)

    finalized_by = body["next"][-1]
    assert (finalized_by["action"], finalized_by["by"]) == ("finalize", ["backend"])
    too_early = await stage.alice.post(f"/api/markets/{market_id}/claim")
    assert_wrong_state(
        too_early,
        "InvalidMarketState",
        "RESOLVING",
        ["FINALIZED"],
        f"claims open once it is FINALIZED, not before {finalized_by['opens_at'].replace('.000', '')}.",
    )
    assert too_early.body["details"]["next"][-1]["opens_at"] == finalized_by["opens_at"]
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    closed = "trades are open only while it is ACTIVE, and it cannot be any more."
    for refused in (
        await stage.alice.post("/api/trades/buy", order),
        await stage.api.anybody.get(
            "/api/trades/estimate", market_id=market_id, outcome="true", target_cost=SOL
        ),
    ):
        assert_wrong_state(refused, "InvalidMarketState", "RESOLVING", ["ACTIVE"], closed)

    await finalize(stage, market_id)
    body = await shown(stage, market_id)
    assert (body["state"], body["final_outcome"], body["was_disputed"]) == ("FINALIZED", True, False)
    assert [step["action"] for step in body["next"]] == ["claim", "withdraw"]
    too_late = await stage.bob.relay(await signed_resolution(stage, CREATOR, market_id))
    assert too_late.status == 400
    too_late = await stage.creator.relay(await signed_resolution(stage, CREATOR, market_id))
    assert_wrong_state(
        too_late,
        "InvalidStateTransition",
        "FINALIZED",
        ["ACTIVE"],
        "resolutions are open only while it is ACTIVE, and it cannot be any more.",
    )
    request = await stage.alice.post(f"/api/markets/{market_id}/dispute-requests")
    assert (request.status, request.body["code"]) == (409, "wrong_state")
    assert request.body["details"]["expected_states"] == ["RESOLVING"]
    decision = {"decision": "refund", "because": "it is too late"}
    nothing = await stage.api.as_wallet(AUTHORITY).post(f"/api/markets/{market_id}/decisions", decision)
    assert (nothing.status, nothing.body["code"]) == (409, "wrong_state")
    assert nothing.body["details"]["expected_states"] == ["RESOLVING", "DISPUTED"]

    path = f"/api/users/{ALICE.pubkey()}/positions/{market_id}"
    claimable = (await stage.alice.get(path)).body["claimable"]
    offered = await stage.alice.post(f"/api/markets/{market_id}/claim")
    assert offered.body["simulated"]["pays"] == claimable
    claimed = await stage.alice.carry_out(f"/api/markets/{market_id}/claim")
    (event,) = claimed.body["events"]
    assert (event["name"], event["amount"]) == ("WinningsClaimed", claimable)
    assert (await stage.alice.get(path)).body["claimed_amount"] == claimable

    loser = await stage.bob.post(f"/api/markets/{market_id}/claim")
    assert (loser.status, loser.body["error"]) == (422, "NoWinnings")
    again = await stage.alice.post(f"/api/markets/{market_id}/claim")
    assert (again.status, again.body["error"]) == (422, "AlreadyClaimed")

    await stage.indexed(claimed.body["signature"])
    assert what_is_open(await shown(stage, market_id)) == {"claim": False, "withdraw": True}
    offered = await stage.creator.post(f"/api/markets/{market_id}/withdraw")
    withdrawn = await stage.creator.carry_out(f"/api/markets/{market_id}/withdraw")
    (event,) = withdrawn.body["events"]
    assert (event["name"], event["amount"]) == ("LiquidityWithdrawn", offered.body["simulated"]["pays"])
    account = await stage.market_account(market_id)
    assert account.state is MarketState.FINALIZED
    body = await shown(stage, market_id)
    assert what_is_open(body) == {"claim": False, "withdraw": False}
    resolution = (await stage.api.anybody.get(f"/api/markets/{market_id}/resolution")).body["resolution"]
    assert resolution["liquidity_left"] == body["liquidity_left"]
    assert resolution["current_liquidity"] == body["current_liquidity"] == str(account.current_liquidity)
    assert int(body["liquidity_left"]) <= 1, "what rounding left"
    again = await stage.creator.post(f"/api/markets/{market_id}/withdraw")
    assert (again.status, again.body["error"]) == (422, "InsufficientLiquidity")
    assert again.body["message"].startswith("The liquidity of this market is already withdrawn.")


async def test_only_the_creator_resolves_through_the_api(stage: Stage) -> None:
    market_id = await stage.active_market()
    await stage.travel(DAY)
    body = {"outcome": False, "ipfs_evidence_hash": EVIDENCE}
    refused = await stage.alice.post(f"/api/markets/{market_id}/resolve", body)
    assert (refused.status, refused.body["code"]) == (403, "not_the_creator")


async def test_a_strangers_resolution_is_not_relayed(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    trusted = VotingSettings(trusted_resolvers=(str(BOB.pubkey()),))
    async with running_stage(database, redis_url, tmp_path, trusted) as stage:
        market_id = await stage.active_market()
        needless = {"outcome": True, "ipfs_evidence_hash": EVIDENCE, **EARLY}
        await stage.travel(1)
        assert (await stage.bob.post(f"/api/markets/{market_id}/resolve", needless)).status == 200
        await stage.travel(31 * DAY)
        refused = await stage.alice.relay(await signed_resolution(stage, ALICE, market_id))
        assert (refused.status, refused.body["code"]) == (403, "not_the_creator")
        assert (await stage.market_account(market_id)).state is MarketState.ACTIVE

        refused = await stage.bob.post(f"/api/markets/{market_id}/resolve", needless)
        assert (refused.status, refused.body["details"][0]["field"]) == (400, "early")
        assert "expected end was" in refused.body["details"][0]["message"]
        relayed = await stage.bob.relay(await signed_resolution(stage, BOB, market_id))
        assert relayed.status == 200, relayed.body
        assert (await shown(stage, market_id))["resolution_evidence"]["early_reason"] is None
        shown_by = (await stage.api.anybody.get(f"/api/markets/{market_id}/settlement")).body
        assert (shown_by["resolver_wallet"], shown_by["resolver_kind"]) == (
            str(BOB.pubkey()),
            "trusted_resolver",
        )


async def signed_resolution(stage: Stage, resolver: Keypair, market_id: str) -> str:
    """A transaction that the API did not build: its resolution stands behind another instruction."""
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    resolve = PROGRAM.resolve_market(
        resolver=resolver.pubkey(), market=market, proposed_outcome=True, ipfs_evidence_hash=EVIDENCE
    )
    latest = await stage.api.rpc.latest_blockhash()
    instructions = [*compute_budget(400_000), resolve]
    signed = sign(instructions, resolver, latest.blockhash, latest.last_valid_block_height, "test")
    return base64.b64encode(signed.wire).decode()


async def test_a_failure_of_an_earlier_moment_is_not_explained_by_the_present_one(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    quoted = (await stage.alice.post("/api/trades/buy", order)).body
    signed = stage.alice.sign(quoted["transaction"])
    wire = base64.b64decode(signed)
    outbox = DatabaseOutbox(stage.api.database, TransactionSettings())
    signature = str(ALICE.sign_message(wire[65:]))
    await outbox.record(
        SignedTransaction(
            signature=signature,
            wire=wire,
            last_valid_block_height=quoted["last_valid_block_height"],
            purpose="relay",
            relayed_for=stage.alice.address,
        )
    )
    await outbox.record_fate(signature, Fate.FAILED, None, "InvalidMarketState")
    assert_wrong_state(
        await stage.alice.relay(signed, protection=quoted["protection"]),
        "InvalidMarketState",
        "ACTIVE",
        ["ACTIVE"],
        "trades are open, and were not when this one was tried: try a new one.",
    )


async def test_an_admin_decides_about_what_a_stranger_proposed_and_everybody_can_read_why(
    stage: Stage,
) -> None:
    market_id = await stage.active_market()
    path = f"/api/markets/{market_id}"
    await stage.travel(DAY)
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    await stage.as_stranger(
        BOB,
        PROGRAM.resolve_market(
            resolver=BOB.pubkey(), market=market, proposed_outcome=True, ipfs_evidence_hash=EVIDENCE
        ),
    )
    assert (await shown(stage, market_id))["resolver_is_creator"] is False
    order = {"decision": "refund", "because": "resolved by a stranger"}

    for caller, status, code in (
        (stage.api.anybody, 401, "auth_missing"),
        (stage.bob, 403, "not_the_admin"),
        (stage.creator, 403, "not_the_admin"),
    ):
        refused = await caller.post(f"{path}/decisions", order)
        assert (refused.status, refused.body["code"]) == (status, code)
    admin = stage.api.as_wallet(AUTHORITY)
    short = await admin.post(f"{path}/decisions", {"decision": "refund", "because": "no"})
    assert short.status == 400
    made = await admin.post(f"{path}/decisions", order)
    assert made.status == 201
    again = await admin.post(f"{path}/decisions", order)
    assert (again.status, again.body["code"]) == (409, "already_decided")

    settlement = (await stage.api.anybody.get(f"{path}/settlement")).body
    assert settlement == {
        "market_id": market_id,
        "state": "RESOLVING",
        "proposed_outcome": True,
        "resolver_wallet": str(BOB.pubkey()),
        "resolver_kind": "stranger",
        "awaiting_decision": False,
        "settles_at": None,
        "electorate_known": True,
        "tally": None,
        "decisions": [made.body],
    }
    assert made.body == {
        "market_id": market_id,
        "state": "RESOLVING",
        "decision": "refund",
        "because": "resolved by a stranger",
        "decided_by": str(AUTHORITY.pubkey()),
        "decided_at": made.body["decided_at"],
    }


async def test_the_state_of_a_market_comes_before_the_time_of_its_resolution(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    path, body = f"/api/markets/{market_id}/resolve", {"outcome": True, "ipfs_evidence_hash": EVIDENCE}
    assert_wrong_state(
        await stage.creator.post(path, body),
        "InvalidStateTransition",
        "PROPOSED",
        ["ACTIVE"],
        "resolutions open once it is ACTIVE.",
    )
    await stage.activate(market_id)
    await stage.travel(1)
    assert (await stage.creator.post(path, body)).body["code"] == "too_early"


async def test_a_resolution_needs_its_outcome_and_evidence(stage: Stage) -> None:
    market_id = await stage.active_market()
    refused = await stage.creator.post(
        f"/api/markets/{market_id}/resolve", {"outcome": None, "ipfs_evidence_hash": "Qm" + "0" * 44}
    )
    assert refused.status == 400
    assert refused.body["details"] == [
        {"field": "outcome", "message": "is required: true for YES or false for NO"},
        {
            "field": "ipfs_evidence_hash",
            "message": "must be an IPFS content id of version 0: Qm and 44 base58 characters",
        },
    ]


async def test_whoever_resolves_early_or_disputes_says_why_and_the_api_keeps_the_documents(
    stage: Stage,
) -> None:
    market_id = await stage.active_market()
    path = f"/api/markets/{market_id}"
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    bought = await stage.alice.post("/api/trades/buy", order)
    assert (bought.body["market_ended"], (await shown(stage, market_id))["ended"]) == (False, False)
    await stage.alice.relay(stage.alice.sign(bought.body["transaction"]))

    written = {"outcome": True, "evidence": "The gauge was wet.", "sources": ["https://gauge.example/log"]}
    early = await stage.creator.post(f"{path}/resolve", written)
    assert (early.status, early.body["code"]) == (409, "too_early")
    assert early.body["details"]["end_date"] == (await shown(stage, market_id))["end_date"]
    for wrong, field in (
        ({"early": True}, "early_reason"),
        ({"early_reason": EARLY["early_reason"]}, "early_reason"),
        ({**EARLY, "ipfs_evidence_hash": EVIDENCE}, "evidence"),
        ({**EARLY, "sources": ["http://gauge.example"]}, "sources"),
        ({**EARLY, "evidence": "x" * 10_001}, "evidence"),
    ):
        refused = await stage.creator.post(f"{path}/resolve", {**written, **wrong})
        assert (refused.status, refused.body["details"][0]["field"]) == (400, field)
    past_the_builder = await stage.creator.relay(await signed_resolution(stage, CREATOR, market_id))
    assert (past_the_builder.status, past_the_builder.body["code"]) == (409, "too_early")
    other_id = await stage.active_market(question="Does the tram run on Sunday?")

    await stage.travel(1)
    proposed = await stage.creator.post(f"{path}/resolve", {**written, **EARLY})
    assert proposed.status == 200, proposed.body
    assert (await shown(stage, market_id))["resolution_evidence"] is None
    of_no_reason = await stage.creator.relay(await signed_resolution(stage, CREATOR, market_id))
    assert (of_no_reason.status, of_no_reason.body["code"]) == (409, "too_early"), "it has other evidence"
    relayed = await stage.creator.relay(stage.creator.sign(proposed.body["transaction"]))
    assert relayed.status == 200, relayed.body
    body = await shown(stage, market_id)
    handed_in = body["resolution_evidence"]
    assert body["evidence_cid"] == handed_in["cid"] == proposed.body["evidence_cid"]
    assert (handed_in["text"], handed_in["sources"]) == (written["evidence"], written["sources"])
    assert handed_in["early_reason"] == EARLY["early_reason"]
    document = await stage.api.client.get(handed_in["url"])
    raw = await document.read()
    assert (document.content_type, cid_v0(raw)) == ("application/json", handed_in["cid"])
    assert json.loads(raw)["early_reason"] == EARLY["early_reason"]
    texts = await stage.api.anybody.get(f"/api/documents/{body['question_cid']}")
    assert texts.body["question"] == body["question"]
    assert (await stage.api.anybody.get(f"/api/documents/{EVIDENCE}")).body["code"] == "document_not_found"

    for reason in (EARLY["early_reason"], "It has hailed since noon."):
        kept_elsewhere = {
            "outcome": True,
            "ipfs_evidence_hash": EVIDENCE,
            "early": True,
            "early_reason": reason,
        }
        assert (await stage.creator.post(f"/api/markets/{other_id}/resolve", kept_elsewhere)).status == 200
    relayed = await stage.creator.relay(await signed_resolution(stage, CREATOR, other_id))
    assert relayed.status == 200, relayed.body
    assert (await shown(stage, other_id))["resolution_evidence"][
        "early_reason"
    ] == "It has hailed since noon."

    await stage.travel(31 * DAY)
    late = await stage.bob.post(f"{path}/dispute/evidence", {"evidence": "It was the sprinkler."})
    assert (late.status, late.body["code"]) == (403, "not_the_disputer")


async def test_an_early_reason_counts_until_later_requests_have_replaced_it(stage: Stage) -> None:
    market_id = await stage.active_market()
    await stage.travel(1)
    path, body = f"/api/markets/{market_id}/resolve", {"outcome": True, **EARLY}
    proposed = [
        await stage.creator.post(path, {**body, "evidence": text})
        for text in ("One.", "Two.", "Three.", "4.")
    ]
    replaced, second = (stage.creator.sign(one.body["transaction"]) for one in proposed[:2])
    refused = await stage.creator.relay(replaced)
    assert (refused.status, refused.body["code"]) == (409, "too_early")
    assert "later requests have replaced it" in refused.body["message"]
    assert (await stage.creator.relay(second)).status == 200
    told = (await shown(stage, market_id))["resolution_evidence"]
    assert (told["text"], told["early_reason"]) == ("Two.", EARLY["early_reason"])


async def test_anybody_can_dispute_while_the_window_is_open(stage: Stage) -> None:
    market_id = await resolved_market(stage)
    await stage.travel(1)
    disputed = await stage.bob.carry_out(f"/api/markets/{market_id}/dispute")
    assert [event["name"] for event in disputed.body["events"]] == ["DisputeInitiated"]
    body = await shown(stage, market_id)
    assert (body["state"], body["dispute_initiated_at"] is not None) == ("DISPUTED", True)
    evidence_path = f"/api/markets/{market_id}/dispute/evidence"
    handed_in = list[str]()
    async with asyncio.timeout(120), aclosing(stage.api.bus.listen()) as news:
        assert isinstance(await anext(news), Gap)
        for text in ("It was dry all day.", "It was dry all day.", "It was dry.", "It was dry all day."):
            answer = await stage.bob.post(evidence_path, {"evidence": text})
            assert answer.status == 201
            handed_in.append(answer.body["evidence_cid"])
        for cid in (handed_in[0], *handed_in[2:]):  # what is the newest already is not told again
            heard = await anext(news)
            assert isinstance(heard, Message)
            assert isinstance(heard.data, MarketUpdate)
            assert heard.data.dispute_evidence_cid == cid
    other = await stage.alice.post(evidence_path, {"evidence": "It was wet."})
    assert (other.status, other.body["code"]) == (403, "not_the_disputer")
    told = (await shown(stage, market_id))["dispute_evidence"]
    assert (told["user_wallet"], told["text"]) == (str(BOB.pubkey()), "It was dry all day.")
    assert told["cid"] == handed_in[-1]

    closed = await stage.alice.post(f"/api/markets/{market_id}/dispute")
    assert_wrong_state(
        closed,
        "InvalidStateTransition",
        "DISPUTED",
        ["RESOLVING"],
        "disputes are open only while it is RESOLVING, and it cannot be any more.",
    )


async def test_evidence_is_kept_only_together_with_what_is_told_of_it(
    stage: Stage, database_url: str
) -> None:
    market_id = await resolved_market(stage)
    await stage.travel(1)
    await stage.bob.carry_out(f"/api/markets/{market_id}/dispute")
    path, body = f"/api/markets/{market_id}/dispute/evidence", {"evidence": "It was dry all day."}
    async with stage.api.database.service() as connection:
        await connection.execute("lock table stream_messages in exclusive mode")
        handing_in = asyncio.create_task(stage.bob.post(path, body))
        while not handing_in.done():
            await execute(database_url, CANCEL_WHO_WAITS)
    assert (await handing_in).status == 503
    assert (await shown(stage, market_id))["dispute_evidence"] is None
    assert (await stage.bob.post(path, body)).status == 201
    assert (await shown(stage, market_id))["dispute_evidence"]["text"] == "It was dry all day."


async def test_nobody_can_vote_on_a_dispute_about_what_nobody_holds(stage: Stage) -> None:
    market_id = await stage.active_market()
    await stage.travel(DAY)
    body = {"outcome": True, "ipfs_evidence_hash": EVIDENCE, **EARLY}
    assert (await stage.creator.carry_out(f"/api/markets/{market_id}/resolve", body)).status == 200
    await stage.travel(1)
    assert (await stage.bob.carry_out(f"/api/markets/{market_id}/dispute")).status == 200
    market = await shown(stage, market_id)
    assert not what_is_open(market)["vote_on_dispute"]
    assert [step["votes"]["missing"] for step in market["next"] if step["votes"]] == [None]


async def test_each_holder_can_request_a_dispute_once(stage: Stage) -> None:
    market_id = await resolved_market(stage)
    path = f"/api/markets/{market_id}/dispute-requests"
    first = await stage.bob.post(path)
    assert (first.status, first.body) == (
        201,
        {"market_id": market_id, "requests_count": 1, "holders_count": 2},
    )
    again = await stage.bob.post(path)
    assert (again.status, again.body) == (200, first.body)
    stranger = await stage.api.as_wallet(CREATOR).post(path)
    assert (stranger.status, stranger.body["code"]) == (403, "dispute_request_refused")
    anonymous = await stage.api.anybody.post(path)
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")


async def test_only_the_admin_cancels(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    refused = await stage.creator.post(f"/api/markets/{market_id}/cancel")
    assert (refused.status, refused.body["code"]) == (403, "not_the_admin")
    assert refused.body["details"] == {"admin": str(AUTHORITY.pubkey())}
    assert refused.body["message"] == (
        f"Only the program's admin, {AUTHORITY.pubkey()}, may cancel a market; sign in with that wallet."
    )
    cancelled = await stage.api.as_wallet(AUTHORITY).carry_out(f"/api/markets/{market_id}/cancel")
    assert [event["name"] for event in cancelled.body["events"]] == ["MarketCancelled"]
    body = await shown(stage, market_id)
    assert (body["state"], what_is_open(body)) == ("CANCELLED", {"withdraw": True})
    stranger = await stage.bob.post(f"/api/markets/{market_id}/withdraw")
    assert (stranger.status, stranger.body["code"]) == (403, "not_the_creator")
    assert stranger.body["message"] == (
        f"Only the creator of this market, {CREATOR.pubkey()}, may withdraw its liquidity; "
        "sign in with that wallet."
    )
    offered = await stage.creator.post(f"/api/markets/{market_id}/withdraw")
    assert offered.body["simulated"]["pays"] == body["liquidity_left"] == body["initial_liquidity"]
    assert (await stage.creator.carry_out(f"/api/markets/{market_id}/withdraw")).status == 200
    body = await shown(stage, market_id)
    assert (body["liquidity_left"], what_is_open(body)) == ("0", {"withdraw": False})


async def test_a_stranger_does_not_activate_a_market(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    early = await stage.creator.post(f"/api/markets/{market_id}/activate")
    assert (early.status, early.body["details"]["program_error_name"]) == (409, "InvalidStateTransition")
    stranger = await stage.api.as_wallet(BOB).post(f"/api/markets/{market_id}/activate")
    assert (stranger.status, stranger.body["code"]) == (403, "not_the_creator")
    assert stranger.body["details"] == {"market_id": market_id, "creator": str(CREATOR.pubkey())}
    assert stranger.body["message"] == (
        f"Only the creator of this market, {CREATOR.pubkey()}, or the program's admin may activate it; "
        "sign in as one of them."
    )
    nobody = await stage.api.as_wallet(Keypair()).post(f"/api/markets/{market_id}/activate")
    assert (nobody.body["code"], "ask for less" in nobody.body["message"]) == ("insufficient_funds", False)
    anonymous = await stage.api.anybody.post(f"/api/markets/{market_id}/activate")
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")


async def test_without_a_configuration_neither_trades_nor_decisions_are_taken(stage: Stage) -> None:
    market_id = await stage.active_market()
    config = str(PROGRAM.pdas.global_config())
    await stage.cheat("surfnet_setAccount", config, {"owner": str(SYSTEM_PROGRAM_ID)})
    async with asyncio.timeout(120):
        while await find_config(stage.api.rpc, PROGRAM.program_id) is not None:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    decision = {"decision": "refund", "because": "the rules are gone"}
    for refused in (
        await stage.alice.post("/api/trades/buy", order),
        await stage.api.as_wallet(AUTHORITY).post(f"/api/markets/{market_id}/decisions", decision),
    ):
        assert (refused.status, refused.body["code"]) == (409, "protocol_not_initialized")
        assert refused.body["details"] == {"program_id": str(PROGRAM.program_id)}
