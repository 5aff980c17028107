from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.http.rest.rest_stage import ALICE, POOR, Stage, running_stage
from tests.integration.indexer.story import Story
from zmartd.chain.events import SharesBought
from zmartd.config import VotingSettings
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.messages import Message, VoteCast
from zmartd.store import tallies
from zmartd.store.postgres.database import Database

WALLET, OTHER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))


async def proposed_market(api: Api) -> str:
    story = Story(1)
    story.create()
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


async def disputed_market(api: Api) -> str:
    """Four wallets vote for its dispute on the chain. Three of them and WALLET hold shares."""
    story = Story(1)
    story.create()
    story.open_for_trading()
    for holder in (WALLET.pubkey(), *story.traders[:3]):
        bought = SharesBought(story.market_id, holder, True, 10**9, 10**9, 5 * 10**8, story.now)
        story.tell(bought)
    story.resolve(True)
    story.dispute()
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


async def test_a_vote_is_counted_once(api: Api) -> None:
    market_id = await proposed_market(api)
    voter = api.as_wallet(WALLET)

    cast = await voter.post("/api/votes/proposal", {"market_id": market_id, "vote": True})
    assert cast.status == 201
    assert cast.body == {
        "id": None,
        "market_id": market_id,
        "vote_type": "proposal",
        "vote": True,
        "user_wallet": str(WALLET.pubkey()),
        "voted_at": cast.body["voted_at"],
        "source": "api",
        "tx_signature": None,
    }
    again = await voter.post("/api/votes/proposal", {"market_id": market_id, "vote": False})
    assert (again.status, again.body["code"]) == (409, "already_voted")

    await api.as_wallet(OTHER).post("/api/votes/proposal", {"market_id": market_id, "vote": False})
    votes = await voter.get(f"/api/markets/{market_id}/votes")
    assert votes.body == {
        "market_id": market_id,
        "vote_type": "proposal",
        "stats": {
            "in_favour": 1,
            "against": 1,
            "total": 2,
            "in_favour_bps": 5_000,
            "likes": 1,
            "dislikes": 1,
            "approval_rate": "50.00",
        },
        "not_counted": 0,
        "counted": None,
        "own_vote": cast.body,
        "type": "proposal",
    }


async def test_nobody_sees_how_another_wallet_voted(api: Api) -> None:
    market_id = await proposed_market(api)
    await api.as_wallet(WALLET).post("/api/votes/proposal", {"market_id": market_id, "vote": True})
    for caller in (api.anybody, api.as_wallet(OTHER)):
        votes = await caller.get(f"/api/markets/{market_id}/votes", vote_type="proposal")
        assert votes.body["own_vote"] is None
        assert votes.body["stats"]["in_favour"] == 1


@pytest.mark.parametrize(
    ("body", "vote"),
    [
        ({"marketId": "{id}", "vote": True}, True),
        ({"proposal_id": "{id}", "vote_choice": "dislike"}, False),
        ({"market": "{id}", "vote": "like"}, True),
        ({"market_id": "{id}", "approve": False}, False),
    ],
)
async def test_the_spellings_of_every_client_are_understood(
    api: Api, body: dict[str, object], vote: bool
) -> None:
    market_id = await proposed_market(api)
    named = {name: market_id if value == "{id}" else value for name, value in body.items()}
    cast = await api.as_wallet(WALLET).post("/api/votes/proposal", named)
    assert (cast.status, cast.body["vote"]) == (201, vote)


async def test_a_malformed_vote_is_refused_before_a_wallet_is_required(api: Api) -> None:
    for kind in ("proposal", "dispute"):
        malformed = await api.anybody.post(f"/api/votes/{kind}", {"vote": "maybe"})
        assert malformed.status == 400
        assert malformed.body["details"] == [
            {
                "field": "market_id",
                "message": "is required: a market's id, 64 hexadecimal digits, or address",
            },
            {
                "field": "vote",
                "message": (
                    "must be true or false, or one of like, agree, support, dislike, disagree, reject"
                ),
            },
        ]
        anonymous = await api.anybody.post(f"/api/votes/{kind}", {"market_id": "ab" * 32, "vote": True})
        assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")


async def test_votes_are_taken_only_in_their_state(api: Api) -> None:
    market_id = await proposed_market(api)
    closed = await api.as_wallet(WALLET).post("/api/votes/dispute", {"market_id": market_id, "vote": True})
    assert (closed.status, closed.body["code"]) == (409, "wrong_state")
    assert closed.body["message"] == (
        "This market is now PROPOSED; votes on a dispute open once it is DISPUTED."
    )
    details = closed.body["details"]
    assert (details["state"], details["expected_states"]) == ("PROPOSED", ["DISPUTED"])
    shown = (await api.anybody.get(f"/api/markets/{market_id}")).body
    assert details["next"] == shown["next"]
    liked = await api.as_wallet(WALLET).post("/api/votes/proposal", {"market_id": market_id, "vote": True})
    assert liked.status == 201
    shown = (await api.anybody.get(f"/api/markets/{market_id}")).body
    target = (await api.anybody.get(f"/api/votes/{market_id}")).body["target"]
    assert (target["vote_type"], target["proposed_outcome"], target["closes_at"]) == ("proposal", None, None)
    approve = next(step for step in shown["next"] if step["action"] == "approve")
    assert approve["votes"] == {
        "in_favour": 1,
        "against": 0,
        "in_favour_by_balance": 0,
        "against_by_balance": 0,
        "needed": 10,
        "threshold_bps": 7_000,
        "quorum_bps": None,
        "missing": 9,
        "missing_at_most": 9,
    }
    assert target["votes"] == approve["votes"]
    assert (await api.anybody.get("/api/markets")).body["markets"][0]["next"] == shown["next"]
    unknown = await api.as_wallet(WALLET).post("/api/votes/proposal", {"market_id": "ab" * 32, "vote": True})
    assert (unknown.status, unknown.body["code"]) == (404, "market_not_found")


async def test_votes_of_the_chain_and_of_the_api_are_counted_together(api: Api) -> None:
    market_id = await disputed_market(api)
    cast = await api.as_wallet(WALLET).post(
        "/api/votes/dispute", {"market_id": market_id, "vote": "disagree"}
    )
    assert (cast.status, cast.body["vote"]) == (201, False)
    overview = await api.anybody.get(f"/api/votes/{market_id}")
    shown = (await api.anybody.get(f"/api/markets/{market_id}")).body
    closes_at = datetime.fromisoformat(shown["dispute_initiated_at"]) + timedelta(days=3)
    assert overview.body == {
        "market_id": market_id,
        "target": {
            "vote_type": "dispute",
            "question": "",
            "proposed_outcome": True,
            "proposed_outcome_label": "YES",
            "closes_at": iso_time(closes_at),
            "votes": {
                "in_favour": 3,
                "against": 1,
                "in_favour_by_balance": 0,
                "against_by_balance": 0,
                "needed": 1,
                "threshold_bps": 6_000,
                "quorum_bps": 1_000,
                "missing": 0,
                "missing_at_most": 0,
            },
        },
        "proposal_votes": {"in_favour": 3, "against": 1, "total": 4, "likes": 3, "dislikes": 1},
        "dispute_votes": {"in_favour": 3, "against": 1, "total": 4, "agrees": 3, "disagrees": 1},
    }
    resolution = (await api.anybody.get(f"/api/markets/{market_id}/resolution")).body["resolution"]
    expected = {
        "state": "DISPUTED",
        "proposed_outcome": True,
        "disputed": True,
        "deadline": iso_time(closes_at),
        "final_not_before": iso_time(closes_at + timedelta(days=1)),
    }
    assert {name: resolution[name] for name in expected} == expected
    votes = await api.anybody.get(f"/api/markets/{market_id}/votes", type="dispute")
    assert votes.body["stats"] == {
        "in_favour": 3,
        "against": 1,
        "total": 4,
        "in_favour_bps": 7_500,
        "likes": 3,
        "dislikes": 1,
        "approval_rate": "75.00",
    }
    assert votes.body["not_counted"] == 1


async def test_wallets_without_shares_when_the_outcome_was_proposed_do_not_vote_on_its_dispute(
    api: Api,
) -> None:
    market_id = await disputed_market(api)
    for vote in (True, False):
        refused = await api.as_wallet(OTHER).post(
            "/api/votes/dispute", {"market_id": market_id, "vote": vote}
        )
        assert (refused.status, refused.body["code"]) == (403, "not_a_holder")
    on_chain = await api.as_wallet(OTHER).post(
        "/api/votes/dispute/transaction", {"market_id": market_id, "vote": True}
    )
    assert (on_chain.status, on_chain.body["code"]) == (403, "not_a_holder")


async def test_a_fresh_wallet_without_lamports_does_not_vote_on_proposals(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_stage(database, redis_url, tmp_path, VotingSettings()) as stage:
        market_id = await stage.proposed_market()
        order = {"market_id": market_id, "vote": True}
        for path in ("/api/votes/proposal", "/api/votes/proposal/transaction"):
            refused = await stage.api.as_wallet(OTHER).post(path, order)
            assert (refused.status, refused.body["code"]) == (403, "balance_too_low")
            assert refused.body["details"] == {
                "balance_lamports": "0", "minimum_lamports": "50000000"
            }  # fmt: skip
        assert (await stage.alice.post("/api/votes/proposal", order)).status == 201
        assert (await stage.poor.post("/api/votes/proposal", order)).status == 403
        async with database.service() as connection:
            await connection.execute(
                "insert into user_positions (market_id, user_wallet, trades_count) values ($1, $2, 1)",
                market_id,
                str(POOR.pubkey()),
            )
        assert (await stage.poor.post("/api/votes/proposal", order)).status == 201
        shown = (await stage.api.anybody.get(f"/api/markets/{market_id}")).body
    approve = next(step for step in shown["next"] if step["action"] == "approve")
    assert approve["votes"] == {
        "in_favour": 2,
        "against": 0,
        "in_favour_by_balance": 1,  # ALICE's: she has not traded
        "against_by_balance": 0,
        "needed": 10,
        "threshold_bps": 7_000,
        "quorum_bps": None,
        "missing": 8,
        "missing_at_most": 9,
    }


async def test_votes_that_settle_nothing_and_votes_that_are_being_counted_are_shown_as_such(
    api: Api, database: Database
) -> None:
    market_id = await disputed_market(api)

    async def steps() -> dict[str, bool]:
        shown = await api.client.get(f"/api/markets/{market_id}", headers={"Cache-Control": "no-cache"})
        return {step["action"]: step["open"] for step in (await shown.json())["next"]}

    assert await steps() == {"vote_on_dispute": True, "decide": False, "finalize": False}
    async with database.service() as connection:
        await connection.execute(
            "insert into market_corrections (market_id, slot, market, positions, corrected_at, unexplained)"
            " values ($1, 1, '{}', '{}', now(), '{positions}')",
            market_id,
        )
        await tallies.close(connection, VoteKind.DISPUTE, market_id)
    # Nobody knows who may vote with what stake: an admin decides, once the votes are counted.
    assert await steps() == {"vote_on_dispute": False, "decide": False}
    target = (await api.anybody.get(f"/api/votes/{market_id}")).body["target"]
    assert (target["votes"]["in_favour"], target["votes"]["missing"]) == (3, None)
    resolution = (await api.anybody.get(f"/api/markets/{market_id}/resolution")).body["resolution"]
    assert resolution["final_not_before"] is None


async def test_a_vote_is_published(api: Api) -> None:
    market_id = await proposed_market(api)
    async with asyncio.timeout(120), aclosing(api.bus.listen()) as news:
        await anext(news)
        await api.as_wallet(WALLET).post("/api/votes/proposal", {"market_id": market_id, "vote": True})
        message = await anext(news)
    assert isinstance(message, Message)
    assert message.market_id == market_id
    assert message.data == VoteCast(vote_type=VoteKind.PROPOSAL)


async def test_a_vote_can_be_cast_on_the_chain_instead(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    landed = await stage.alice.carry_out(
        "/api/votes/proposal/transaction", {"market_id": market_id, "vote": True}
    )
    assert landed.status == 200, landed.body
    assert [event["name"] for event in landed.body["events"]] == ["ProposalVoteSubmitted"]

    own = (await stage.alice.get(f"/api/markets/{market_id}/votes")).body["own_vote"]
    assert (own["source"], own["tx_signature"]) == ("chain", landed.body["signature"])
    again = await stage.alice.post("/api/votes/proposal", {"market_id": market_id, "vote": True})
    assert again.body["code"] == "already_voted"
    twice = await stage.alice.post("/api/votes/proposal/transaction", {"market_id": market_id, "vote": True})
    assert (twice.status, twice.body["code"]) == (409, "already_voted")
    order = {"market_id": market_id, "vote": False}
    assert (await stage.bob.post("/api/votes/proposal", order)).status == 201
    both_ways = await stage.bob.post("/api/votes/proposal/transaction", order)
    assert (both_ways.status, both_ways.body["code"]) == (409, "already_voted")
    assert both_ways.body["details"] == {"market_id": market_id, "vote_type": "proposal"}
    wrong = await stage.alice.post("/api/votes/dispute/transaction", {"market_id": market_id, "vote": True})
    assert (wrong.status, wrong.body["code"]) == (403, "not_a_holder")
    assert own["user_wallet"] == str(ALICE.pubkey())
