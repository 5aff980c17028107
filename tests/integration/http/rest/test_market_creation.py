from __future__ import annotations

import json

import pytest
from solders.instruction import Instruction

from tests.integration.http.rest.rest_api import MAX_PENDING_MARKETS, PROGRAM
from tests.integration.http.rest.rest_stage import AUTHORITY, BOB, CREATOR, PROPOSAL, SOL, Stage
from tests.integration.store.expiry import delete_expired
from zmartd.market import ids
from zmartd.market.lmsr import MIN_B


async def test_a_proposal_is_registered_and_shown_before_it_is_on_the_chain(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    proposed = await stage.creator.post("/api/markets", {**PROPOSAL, "end_date": end_date})
    assert proposed.status == 201
    document = proposed.body["document"]
    assert json.loads(document) == {
        "category": "science",
        "description": "By the weather station at Fluntern.",
        "end_date": proposed.body["market"]["end_date"],
        "question": "Will it rain in Zürich tomorrow?",
        "tags": ["weather"],
    }
    cid = ids.cid_v0(document.encode())
    market_id = ids.derive_market_id(str(CREATOR.pubkey()), cid)
    address = str(PROGRAM.pdas.market(bytes.fromhex(market_id)))
    assert proposed.body["question_cid"] == cid
    shown = await stage.api.anybody.get(f"/api/markets/{market_id}")
    today = {"change_24h": 0.0, "volume_24h": "0", "traders_24h": 0, "traders_count": 0}
    today |= {"resolution_evidence": None, "dispute_evidence": None}
    today |= {"resolution_rules": "", "resolution_sources": []}
    assert (shown.status, shown.body) == (200, proposed.body["market"] | today)
    expected = {
        "id": market_id,
        "on_chain_address": address,
        "question": "Will it rain in Zürich tomorrow?",
        "state": "PROPOSED",
        "state_code": 0,
        "price_yes": 0.5,
        "shares_yes": "0",
        "initial_liquidity": "10000000000",
        "question_cid": cid,
        "creator_wallet": str(CREATOR.pubkey()),
        "metadata_verified": False,
        "chain_confirmed": False,
        "commitment": None,
        "slot": None,
        "version": 0,
    }
    assert {name: shown.body[name] for name in expected} == expected
    assert (await stage.api.anybody.get(f"/api/markets/{address}")).body == shown.body
    assert (await stage.api.anybody.get(f"/api/markets/{market_id}/trades")).body["trades"] == []


async def test_a_market_says_how_it_is_resolved_and_has_a_name_of_its_own(stage: Stage) -> None:
    texts = {
        "resolution_rules": "What the gauge says at noon.\n\nIn doubt: NO.",
        "resolution_sources": ["https://gauge.example/log"],
        "image_url": "https://gauge.example/rain.png",
    }
    first = await stage.propose(**texts)
    assert first.status == 201, first.body
    assert {name: json.loads(first.body["document"])[name] for name in texts} == texts
    assert {name: first.body["market"][name] for name in texts} == texts
    second = await stage.propose(description="Another day.", allow_similar=True)
    third = await stage.propose(question="Will it rain in Zürich tomorrow 2?", allow_similar=True)
    slug, later = "will-it-rain-in-zurich-tomorrow", second.body["market"]["id"]
    path = f"/api/markets/by-slug/{slug}"
    registered = (await stage.api.anybody.get(f"/api/markets/{first.body['market']['id']}")).body
    assert {name: registered[name] for name in texts} == texts
    assert registered["slug"] is None
    assert (await stage.api.anybody.get(path)).status == 404
    for one in (first, second, third):
        await stage.creator.relay(stage.creator.sign(one.body["transaction"]))
    listed = (await stage.api.anybody.get("/api/markets", sort="newest")).body["markets"]
    assert {one["slug"] for one in listed} == {slug, f"{slug}-{later[:8]}", f"{slug}-2"}
    shown = (await stage.api.anybody.get(path)).body
    assert (shown["state"], shown["chain_confirmed"], shown["metadata_verified"]) == ("PROPOSED", True, True)
    assert {name: shown[name] for name in (*texts, "slug")} == {**texts, "slug": slug}
    assert shown == (await stage.api.anybody.get(f"/api/markets/{shown['id']}")).body
    (pictured,) = (one for one in listed if one["slug"] == slug)
    assert pictured["image_url"] == texts["image_url"]
    assert "resolution_rules" not in pictured

    elsewhere = await stage.api.anybody.get("/api/markets/will-it-snow")
    assert (elsewhere.status, "/api/markets/by-slug/{slug}" in elsewhere.body["message"]) == (404, True)
    nothing = await stage.api.anybody.get("/api/markets/by-slug/will-it-snow")
    assert (nothing.status, nothing.body["code"]) == (404, "market_not_found")
    assert (await stage.api.anybody.get("/api/markets/by-slug/Will--it")).status == 400
    for wrong, field in (
        ({"resolution_rules": "x" * 10_001}, "resolution_rules"),
        ({"resolution_sources": ["http://gauge.example"]}, "resolution_sources"),
        ({"image_url": "https://user@gauge.example/rain.png"}, "image_url"),
    ):
        refused = await stage.propose(**wrong)
        assert (refused.status, refused.body["details"][0]["field"]) == (400, field)


async def test_once_its_transaction_lands_the_market_has_its_texts(stage: Stage) -> None:
    proposed = await stage.propose()
    landed = await stage.creator.relay(stage.creator.sign(proposed.body["transaction"]))
    assert [event["name"] for event in landed.body["events"]] == ["MarketCreated"]

    shown = (await stage.api.anybody.get(f"/api/markets/{proposed.body['market']['id']}")).body
    account = await stage.market_account(shown["id"])
    assert (shown["chain_confirmed"], shown["metadata_verified"]) == (True, True)
    assert shown["question"] == "Will it rain in Zürich tomorrow?"
    assert shown["end_date"] == proposed.body["market"]["end_date"]
    assert account.ipfs_evidence_hash.decode() == proposed.body["question_cid"]
    assert (shown["shares_yes"], shown["shares_no"]) == (str(account.shares_yes), str(account.shares_no))
    assert shown["current_liquidity"] == str(account.current_liquidity) == "10000000000"


async def test_the_same_proposal_again_is_the_same_market(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    first = await stage.propose(end_date=end_date)
    again = await stage.propose(end_date=end_date)
    assert (first.status, again.status) == (201, 200)
    assert again.body["market"] == first.body["market"]
    assert again.body["transaction"] is not None

    await stage.creator.relay(stage.creator.sign(again.body["transaction"]))
    landed = await stage.propose(end_date=end_date)
    assert (landed.status, landed.body["transaction"], landed.body["simulated"]) == (200, None, None)
    assert landed.body["market"]["chain_confirmed"] is True


async def test_other_terms_for_a_registered_market_are_a_conflict(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    await stage.propose(end_date=end_date)
    conflict = await stage.propose(end_date=end_date, initial_liquidity=2 * SOL)
    assert (conflict.status, conflict.body["code"]) == (409, "market_id_taken")
    another = await stage.propose(
        end_date=end_date, initial_liquidity=2 * SOL, market_id="AB" * 32, allow_similar=True
    )
    assert (another.status, another.body["market"]["id"]) == (201, "ab" * 32)


async def test_the_number_of_pending_markets_of_a_wallet_is_limited(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    proposed = [
        await stage.propose(end_date=end_date, question=f"Is this the question number {number}?")
        for number in range(MAX_PENDING_MARKETS + 1)
    ]
    *registered, refused = proposed
    assert {answer.status for answer in registered} == {201}
    assert (refused.status, refused.body["code"]) == (409, "too_many_pending_markets")
    assert refused.body["details"] == {"limit": MAX_PENDING_MARKETS}

    first = await stage.propose(end_date=end_date, question="Is this the question number 0?")
    assert first.status == 200
    await stage.creator.relay(stage.creator.sign(first.body["transaction"]))
    last = f"Is this the question number {MAX_PENDING_MARKETS}?"
    assert (await stage.propose(end_date=end_date, question=last)).status == 201


async def test_a_market_that_was_never_created_is_unknown_once_its_registration_is_deleted(
    stage: Stage,
) -> None:
    forgotten = await stage.propose(question="Did anybody want to know this?")
    async with stage.api.database.service() as connection:
        await connection.execute("update market_metadata set created_at = now() - interval '31 days'")
    assert await delete_expired(stage.api.database, "market_metadata") == 1
    shown = await stage.api.anybody.get(f"/api/markets/{forgotten.body['market']['id']}")
    assert (shown.status, shown.body["code"]) == (404, "market_not_found")


async def test_a_pending_market_says_when_it_cannot_be_created_any_more_and_why_not_now(stage: Stage) -> None:
    registered = (await stage.propose()).body["market"]

    async def shown() -> tuple[bool, bool, str]:
        path = f"/api/markets/{registered['id']}"
        answer = await stage.api.client.get(path, headers={"Cache-Control": "no-cache"})
        market = await answer.json()
        (create,) = market["next"]
        return market["ended"], create["open"], create["closes_at"]

    end = registered["end_date"]
    assert await shown() == (False, True, end[:19] + ".000Z")
    await stage.as_authority(PROGRAM.emergency_pause(admin=AUTHORITY.pubkey()))
    assert await shown() == (False, False, end[:19] + ".000Z")
    refused = await stage.propose(question="Will it be created while paused?")
    assert (refused.status, refused.body["code"]) == (422, "protocol_paused")
    async with stage.api.database.service() as connection:
        await connection.execute("update protocol set is_paused = false")
        await connection.execute("update market_metadata set end_date = now() - interval '1 minute'")
    assert (await shown())[:2] == (True, False)


async def test_a_market_of_somebody_else_cannot_be_given_texts(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    intruder = await stage.bob.post(
        "/api/markets",
        {**PROPOSAL, "question": "Is this a scam, after all?", "market_id": market_id}
        | {"end_date": await stage.in_days(30)},
    )
    assert (intruder.status, intruder.body["code"]) == (409, "market_id_taken")
    shown = await stage.api.anybody.get(f"/api/markets/{market_id}")
    assert shown.body["question"] == "Will it rain in Zürich tomorrow?"


async def test_a_market_that_was_created_without_the_api_can_be_registered_afterwards(stage: Stage) -> None:
    """The earlier frontend sends create_market itself, without telling anybody what the market is about."""
    registered = await stage.propose(market_id="cd" * 32)
    elsewhere = registered.body["transaction"]
    async with stage.api.database.service() as connection:
        await connection.execute("delete from market_metadata")
    await stage.creator.relay(stage.creator.sign(elsewhere))
    assert (await stage.api.anybody.get(f"/api/markets/{'cd' * 32}")).body["question"] == ""

    body = {**PROPOSAL, "end_date": registered.body["market"]["end_date"], "market_id": "cd" * 32}
    told = await stage.creator.post("/api/markets", body)
    assert (told.status, told.body["transaction"]) == (201, None)
    assert told.body["market"]["question"] == "Will it rain in Zürich tomorrow?"
    assert told.body["market"]["metadata_verified"] is True


async def test_a_market_is_created_with_the_texts_that_were_registered_or_shows_none(stage: Stage) -> None:
    terms = await stage.propose(resolution_rules="By the gauge.", image_url="https://gauge.example/rain.png")
    others = await stage.propose(question="Is there anything else to ask about?")
    market_id, cid = terms.body["market"]["id"], terms.body["question_cid"]

    def creation(named: str, of: str = market_id) -> Instruction:
        return PROGRAM.create_market(
            creator=CREATOR.pubkey(),
            market_id=bytes.fromhex(of),
            b_parameter=int(terms.body["terms"]["b_parameter"]),
            initial_liquidity=10 * SOL,
            ipfs_question_hash=named,
        )

    for named in (others.body["question_cid"], "Qm" + "a" * 44):
        refused = await stage.creator.relay(await stage.signed(CREATOR, creation(named)))
        assert (refused.status, refused.body["code"]) == (400, "transaction_refused")
        assert refused.body["details"] == {"instruction_index": 0}
        assert cid in refused.body["message"]
        assert named in refused.body["message"]
    unregistered = await stage.creator.relay(await stage.signed(CREATOR, creation(cid, "ef" * 32)))
    assert unregistered.status == 200, unregistered.body

    await stage.as_stranger(CREATOR, creation(others.body["question_cid"]))
    path = f"/api/markets/{market_id}"
    shown = (await stage.api.anybody.get(path)).body
    assert (shown["chain_confirmed"], shown["question_cid"]) == (True, others.body["question_cid"])
    texts = ("question", "description", "tags", "end_date", "slug", "image_url", "resolution_rules")
    assert [shown[name] for name in texts] == ["", "", [], None, None, None, ""]
    assert shown["metadata_verified"] is False
    found = await stage.api.anybody.get("/api/markets", q="Zürich")
    assert found.body["markets"] == []
    wrong = {**PROPOSAL, "market_id": market_id, "end_date": terms.body["market"]["end_date"]}
    late = await stage.creator.post("/api/markets", wrong)
    assert (late.status, late.body["code"]) == (409, "market_id_taken")
    assert others.body["question_cid"] in late.body["message"]


async def test_the_terms_say_whether_the_liquidity_covers_the_maximum_loss(stage: Stage) -> None:
    little = await stage.propose()
    assert little.body["terms"] == {
        "b_parameter": str(MIN_B),
        "initial_liquidity": "10000000000",
        "max_loss": "69314718100",
        "covered": False,
    }
    plenty = await stage.propose(initial_liquidity=100 * SOL, question="Will it snow instead of raining?")
    assert plenty.body["terms"] == {
        "b_parameter": "144269503997",
        "initial_liquidity": "100000000000",
        "max_loss": "100000000000",
        "covered": True,
    }
    chosen = await stage.propose(b_parameter=200 * SOL, question="Will there be any weather at all?")
    assert chosen.body["terms"]["b_parameter"] == "200000000000"
    assert chosen.body["market"]["b_parameter"] == "200000000000"


async def test_every_failing_field_of_a_proposal_is_named(stage: Stage) -> None:
    refused = await stage.creator.post(
        "/api/markets",
        {
            "question": "Too short",
            "description": "x" * 2_001,
            "category": "weather",
            "tags": [""],
            "end_date": "tomorrow",
            "initial_liquidity": 99_999_999,
            "b_parameter": MIN_B - 1,
            "market_id": "ab",
        },
    )
    assert refused.status == 400
    assert [problem["field"] for problem in refused.body["details"]] == [
        "question",
        "description",
        "category",
        "tags",
        "end_date",
        "initial_liquidity",
        "b_parameter",
        "market_id",
    ]
    assert refused.body["details"][0]["message"] == "must be a text of 10 to 200 characters"


@pytest.mark.parametrize("days", [-1, 366])
async def test_the_end_date_is_in_the_future_by_the_chains_clock_and_within_a_year(
    stage: Stage, days: int
) -> None:
    refused = await stage.propose(end_date=await stage.in_days(days))
    assert refused.status == 400
    assert refused.body["details"] == [
        {
            "field": "end_date",
            "message": "must be in the future, by the chain's clock, and within 365 days",
        }
    ]


async def test_a_market_whose_creator_cannot_pay_is_not_registered(stage: Stage) -> None:
    refused = await stage.poor.post("/api/markets", {**PROPOSAL, "end_date": await stage.in_days(30)})
    assert (refused.status, refused.body["code"]) == (422, "insufficient_funds")
    has, needs = int(refused.body["details"]["has"]), int(refused.body["details"]["needs"])
    assert 0 < has < 10 * SOL < needs
    async with stage.api.database.service() as connection:
        assert await connection.fetchval("select count(*) from market_metadata") == 0


async def test_a_proposal_needs_a_signed_in_wallet(stage: Stage) -> None:
    anonymous = await stage.api.anybody.post(
        "/api/markets", {**PROPOSAL, "end_date": await stage.in_days(30)}
    )
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")


async def test_votes_and_trades_wait_until_a_registered_market_is_on_the_chain(stage: Stage) -> None:
    market_id = (await stage.propose()).body["market"]["id"]
    for path, body in [
        ("/api/votes/proposal", {"market_id": market_id, "vote": True}),
        ("/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}),
        (f"/api/markets/{market_id}/activate", None),
    ]:
        refused = await stage.api.as_wallet(BOB).post(path, body)
        assert (refused.status, refused.body["code"]) == (409, "market_pending")
