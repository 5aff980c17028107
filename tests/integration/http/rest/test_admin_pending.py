"""What awaits an admin whose key no daemon has: seen, signed and sent through the API alone."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from redis.asyncio import Redis
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from tests.integration.http.rest.rest_api import Api, Caller, running_api
from tests.integration.tasks.world import (
    ADMIN,
    DISPUTE_PERIOD_SECONDS,
    HOLDERS,
    MIN_BALANCE_LAMPORTS,
    RESOLVER,
    World,
    a_world,
)
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store.postgres.database import Database
from zmartd.tasks.base import TaskAction
from zmartd.tasks.vote_aggregator import VoteAggregator

SOL = 10**9
OPERATOR = Keypair.from_seed(bytes([77] * 32))
"""Named in auth.admins."""
PENDING = "/api/admin/pending"


class Place(Struct, frozen=True):
    """A chain, its tasks and the API, none of which has the admin's key."""

    world: World
    api: Api

    @property
    def admin(self) -> Caller:
        return self.api.as_wallet(ADMIN)

    async def tick(self, **settings: Any) -> list[TaskAction]:
        return await VoteAggregator(self.world.own.context(**settings)).run()

    async def liked_proposal(self) -> str:
        """A proposal whose votes, cast through the API, are on the chain."""
        market_id = await self.world.proposal()
        for holder, vote in zip(HOLDERS, (True, True, True, False), strict=False):
            await self.world.give(holder, MIN_BALANCE_LAMPORTS)
            voted = await self.api.as_wallet(holder).post(
                "/api/votes/proposal", {"market_id": market_id, "vote": vote}
            )
            assert voted.status == 201, voted.body
        await self.tick()
        await self.tick()
        return market_id

    async def ended_dispute(self, *sol_and_votes: tuple[int, bool]) -> str:
        """A market whose dispute is over. HOLDERS have put in so many SOL, and voted so."""
        market_id = await self.world.disputed(*(sol * SOL for sol, _ in sol_and_votes))
        for holder, (_, vote) in zip(HOLDERS, sol_and_votes, strict=False):
            await self.world.vote(VoteKind.DISPUTE, market_id, holder, vote)
        await self.world.travel(DISPUTE_PERIOD_SECONDS)
        return market_id

    async def shown(self, market_id: str) -> dict[str, Any]:
        return dict((await self.api.anybody.get(f"/api/markets/{market_id}")).body)


@pytest.fixture
async def place(tmp_path: Path, database: Database, redis_url: str) -> AsyncIterator[Place]:
    redis = Redis.from_url(redis_url)
    async with (
        a_world(tmp_path / "chain", database, redis, admin=ADMIN) as world,
        running_api(database, redis_url, world.rpc_url, admins=(str(OPERATOR.pubkey()),)) as api,
    ):
        yield Place(world, api)
    await redis.aclose()


async def test_an_admin_signs_what_is_ready_made_and_the_proposal_is_approved(place: Place) -> None:
    market_id = await place.liked_proposal()

    market = await place.shown(market_id)
    assert (market["state"], market["awaiting_admin_approval"]) == ("PROPOSED", True)
    (approve,) = [step for step in market["next"] if step["action"] == "approve"]
    assert (approve["by"], approve["open"]) == (["admin"], True)

    listed = await place.admin.get(PENDING)
    assert listed.status == 200, listed.body
    (matter,) = listed.body["matters"]
    assert (listed.body["total"], listed.body["next_cursor"]) == (1, None)
    assert (matter["kind"], matter["market_id"], matter["refused"]) == ("approve_proposal", market_id, None)
    assert matter["proposal_votes"] == {"in_favour": 3, "against": 1, "total": 4}
    assert matter["possible_decisions"] == []
    unsigned = matter["approval"]
    wire = VersionedTransaction.from_bytes(base64.b64decode(unsigned["transaction"]))
    assert wire.message.account_keys[0] == ADMIN.pubkey()
    assert str(wire.message.recent_blockhash) == unsigned["blockhash"]

    landed = await place.admin.relay(place.admin.sign(unsigned["transaction"]))
    assert landed.status == 200, landed.body
    assert [event["name"] for event in landed.body["events"]] == ["ProposalApproved"]
    assert await place.world.states(market_id) == (MarketState.APPROVED, MarketState.APPROVED)
    market = await place.shown(market_id)
    assert (market["state"], market["awaiting_admin_approval"]) == ("APPROVED", False)
    assert (await place.admin.get(PENDING)).body["matters"] == []

    await place.tick()
    counted = (await place.api.anybody.get(f"/api/markets/{market_id}/votes")).body["counted"]
    (recorded,) = await place.world.fetch(
        "select signature from outbox_transactions where purpose = 'aggregate_proposal_votes'"
    )
    assert counted.pop("counted_at").endswith("Z")
    assert counted == {
        "in_favour": 3,
        "against": 1,
        "total": 4,
        "not_counted": 0,
        "rule": {"threshold_bps": 7_000, "min_votes": 3, "quorum_bps": None, "decided_by": "votes"},
        "tx_signature": recorded[0],
    }


async def test_those_whom_the_operator_names_see_what_awaits_and_nobody_else(place: Place) -> None:
    market_id = await place.liked_proposal()
    stranger = await place.api.as_wallet(RESOLVER).get(PENDING)
    assert (stranger.status, stranger.body["code"]) == (403, "not_the_admin")
    assert stranger.body["details"] == {"admin": str(ADMIN.pubkey())}
    assert stranger.body["message"] == (
        f"Only the program's admin, {ADMIN.pubkey()}, and wallets in the operator's auth.admins may see what "
        "awaits an admin; sign in with one of them."
    )
    assert (await place.api.anybody.get(PENDING)).status == 401

    operator = place.api.as_wallet(OPERATOR)
    (matter,) = (await operator.get(PENDING)).body["matters"]
    assert matter["market_id"] == market_id
    # It is the admin's to sign, whoever reads it.
    wire = VersionedTransaction.from_bytes(base64.b64decode(matter["approval"]["transaction"]))
    assert wire.message.account_keys[0] == ADMIN.pubkey()


async def test_a_proposal_that_the_chain_would_not_approve_says_why(place: Place) -> None:
    market_id = await place.liked_proposal()
    approve = place.world.program.approve_proposal(
        admin=ADMIN.pubkey(), market=place.world.address(market_id)
    )
    await place.world.act(ADMIN, approve, indexed=False)
    (matter,) = (await place.admin.get(PENDING)).body["matters"]
    assert matter["approval"] is None
    assert "state" in matter["refused"].lower()


async def test_disputes_and_resolutions_by_strangers_say_what_can_be_decided(place: Place) -> None:
    undecided = await place.ended_dispute((20, True), (1, False), (1, False))
    by_stranger = await place.world.resolving(20 * SOL, resolver=RESOLVER)
    await place.tick()

    listed = (await place.admin.get(PENDING)).body
    assert listed["total"] == 2
    by_id = {one["market_id"]: one for one in listed["matters"]}
    assert [one["market_id"] for one in listed["matters"]] == [undecided, by_stranger]
    dispute = by_id[undecided]
    assert (dispute["kind"], dispute["possible_decisions"]) == (
        "decide_dispute",
        ["keep", "overturn", "refund"],
    )
    wallets, stake = dispute["tally"]["wallets"], dispute["tally"]["stake"]
    assert wallets == {"in_favour": "1", "against": "2", "electorate": "3"}
    assert int(stake["in_favour"]) + int(stake["against"]) == int(stake["electorate"]) > 0
    stranger = by_id[by_stranger]
    assert (stranger["kind"], stranger["resolver_kind"]) == ("decide_resolution", "stranger")
    assert (stranger["tally"], stranger["approval"]) == (None, None)
    assert stranger["possible_decisions"] == ["keep", "overturn", "refund"]

    order = {"decision": "keep", "because": "it is on record"}
    for number, market_id in enumerate((undecided, by_stranger)):
        first = (await place.admin.get(PENDING, limit=1)).body
        assert (first["total"], first["count"]) == (2 - number, 1)
        assert (first["next_cursor"] is None) == (number == 1)
        if first["next_cursor"] is not None:
            second = (await place.admin.get(PENDING, limit=1, cursor=first["next_cursor"])).body
            assert [one["market_id"] for one in second["matters"]] == [by_stranger]
        assert (await place.admin.post(f"/api/markets/{market_id}/decisions", order)).status == 201
    assert (await place.admin.get(PENDING)).body["matters"] == []


async def test_a_settlement_can_be_seen_and_vetoed_before_it_happens(place: Place) -> None:
    market_id = await place.ended_dispute((20, True), (20, True))
    await place.tick(veto_seconds=3_600)
    (matter,) = (await place.admin.get(PENDING)).body["matters"]
    assert (matter["kind"], matter["market_id"]) == ("veto_settlement", market_id)
    assert matter["settles_at"] is not None
    assert matter["possible_decisions"] == ["keep", "overturn", "refund"]


async def test_after_the_dispute_window_a_strangers_outcome_can_only_be_kept(place: Place) -> None:
    market_id = await place.world.resolving(20 * SOL, resolver=RESOLVER)
    await place.world.travel(DISPUTE_PERIOD_SECONDS)
    await place.tick()
    (matter,) = (await place.admin.get(PENDING)).body["matters"]
    assert (matter["market_id"], matter["possible_decisions"]) == (market_id, ["keep"])


async def test_a_cursor_of_another_list_is_refused(place: Place) -> None:
    for cursor in ("e30", "eyJzaW5jZSI6LTEsIm1hcmtldF9pZCI6ImEifQ", "x"):
        refused = await place.admin.get(PENDING, cursor=cursor)
        assert (refused.status, refused.body["code"]) == (400, "invalid_request")
