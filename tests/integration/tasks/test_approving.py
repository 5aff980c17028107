from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.tasks.world import ADMIN, AUTHORITY, CREATOR, EXPIRY_SLOTS, World, a_world, killed_once
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import CountingRule
from zmartd.store import counted_votes, system_gauges, tallies
from zmartd.store.postgres.database import Database
from zmartd.store.votes import VotingClosed
from zmartd.tasks.authority import NoAuthority, WrongAuthority
from zmartd.tasks.vote_aggregator import VoteAggregator

PROPOSED, APPROVED = MarketState.PROPOSED, MarketState.APPROVED


async def popular_proposal(world: World) -> str:
    market_id = await world.proposal()
    await world.vote_on_proposal(market_id, yes=3, no=1)
    return market_id


async def test_a_proposal_that_enough_wallets_like_is_approved_in_one_transaction(world: World) -> None:
    market_id = await popular_proposal(world)

    (action,) = await VoteAggregator(world.own.context()).run()

    assert (action.action, action.ok, action.detail) == ("approve_proposal", True, "3 of 4 votes like it")
    assert await world.states(market_id) == (APPROVED, APPROVED)
    account = await world.account(market_id)
    assert (account.proposal_likes, account.proposal_dislikes) == (3, 1)
    assert await world.outbox(market_id) == [("approve_proposal", "landed")]
    assert await world.closed_votes(market_id) == []
    async with world.database.service_reader() as connection:
        kept = await counted_votes.find(connection, VoteKind.PROPOSAL, market_id, is_over=True)
        assert await counted_votes.find(connection, VoteKind.PROPOSAL, market_id, is_over=False) is None
    assert kept is not None
    assert (kept.counts.yes, kept.counts.no, kept.signature) == (3, 1, action.signature)
    assert kept.rule == CountingRule(threshold_bps=7_000, min_votes=3)
    assert await VoteAggregator(world.own.context()).run() == []


async def test_too_few_votes_or_too_few_likes_approve_nothing_and_voting_goes_on(world: World) -> None:
    too_few = await world.proposal()
    await world.vote_on_proposal(too_few, yes=2)
    unloved = await world.proposal()
    await world.vote_on_proposal(unloved, yes=2, no=1)

    assert await VoteAggregator(world.own.context()).run() == []

    for market_id in (too_few, unloved):
        assert await world.states(market_id) == (PROPOSED, PROPOSED)
        await world.vote_on_proposal(market_id, yes=1)


async def test_votes_are_refused_while_they_are_counted_and_the_killed_count_is_the_one_sent(
    world: World,
) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(failRate=1, methods=["getLatestBlockhash"])
    await killed_once(world, VoteAggregator, lambda: world.closed_votes(market_id))
    await world.misbehave()

    with pytest.raises(VotingClosed):
        await world.vote_on_proposal(market_id, yes=1)
    (action,) = await VoteAggregator(world.own.context()).run()

    assert action.detail == "3 of 4 votes like it"
    assert await world.outbox(market_id) == [("approve_proposal", "landed")]
    assert await world.closed_votes(market_id) == []


async def test_a_run_that_was_killed_before_its_transaction_landed_is_continued_with_the_same_one(
    world: World,
) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(loseNext=1_000)
    await killed_once(world, VoteAggregator, lambda: world.outbox(market_id))
    assert await world.states(market_id) == (PROPOSED, PROPOSED)
    await world.misbehave()

    (action,) = await VoteAggregator(world.own.context()).run()

    assert (action.action, action.ok) == ("approve_proposal", True)
    assert await world.outbox(market_id) == [("approve_proposal", "landed")]
    assert await world.states(market_id) == (APPROVED, APPROVED)


async def test_a_run_that_was_killed_after_its_transaction_landed_is_only_indexed_by_the_next(
    world: World,
) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(failRate=1, methods=["getTransaction"])
    await killed_once(world, VoteAggregator, lambda: world.has_landed(market_id))
    await world.misbehave()
    assert await world.states(market_id) == (APPROVED, PROPOSED)

    (action,) = await VoteAggregator(world.own.context()).run()

    assert (action.action, action.ok) == ("catch_up", True)
    assert await world.states(market_id) == (APPROVED, APPROVED)
    assert await world.outbox(market_id) == [("approve_proposal", "landed")]
    assert await world.closed_votes(market_id) == []


async def test_two_daemons_that_count_at_once_without_any_lock_send_one_transaction(world: World) -> None:
    market_id = await popular_proposal(world)
    before = await world.executed(market_id)

    async with world.daemon() as other:
        runs = await asyncio.gather(
            VoteAggregator(world.own.context()).run(), VoteAggregator(other.context()).run()
        )

    assert all(action.ok for run in runs for action in run)
    assert await world.outbox(market_id) == [("approve_proposal", "landed")]
    assert await world.executed(market_id) == before + 1
    assert await world.states(market_id) == (APPROVED, APPROVED)
    assert await world.closed_votes(market_id) == []


async def test_a_proposal_that_was_approved_already_is_only_indexed(world: World) -> None:
    market_id = await popular_proposal(world)
    await world.approve(market_id, indexed=False)

    (action,) = await VoteAggregator(world.own.context()).run()

    assert action.detail == "already APPROVED on the chain; 1 missing transactions applied"
    assert await world.outbox(market_id) == []
    assert await world.states(market_id) == (APPROVED, APPROVED)


async def test_an_expired_transaction_opens_the_votes_again_and_the_next_run_sends_a_new_one(
    world: World,
) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(loseNext=1_000)
    run = asyncio.create_task(VoteAggregator(world.own.context()).run())
    await world.until(lambda: world.outbox(market_id))
    await world.cheat("zmartd_advanceSlots", {"slots": EXPIRY_SLOTS})
    (expired,) = await run
    await world.misbehave()

    assert (expired.ok, expired.action) == (False, "approve_proposal")
    await world.vote_on_proposal(market_id, yes=1)
    (approved,) = await VoteAggregator(world.own.context()).run()
    assert approved.detail == "4 of 5 votes like it"
    assert await world.outbox(market_id) == [("approve_proposal", "expired"), ("approve_proposal", "landed")]


async def test_a_refused_transaction_opens_the_votes_again_and_is_tried_later(world: World) -> None:
    market_id = await popular_proposal(world)
    await world.cheat("surfnet_setAccount", str(AUTHORITY.pubkey()), {"lamports": 0})

    (refused,) = await VoteAggregator(world.own.context()).run()

    assert not refused.ok
    assert refused.detail.endswith("(attempt 1)")
    assert await world.closed_votes(market_id) == []
    assert await VoteAggregator(world.own.context()).run() == []
    await world.cheat("surfnet_setAccount", str(AUTHORITY.pubkey()), {"lamports": 10**12})
    await world.travel(301)
    (approved,) = await VoteAggregator(world.own.context()).run()
    assert approved.ok
    assert (
        await world.fetch("select market_id from market_finalization_errors where resolved_at is null") == []
    )


async def test_a_count_is_void_when_another_run_opened_the_votes_again(world: World) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(failRate=1, methods=["getLatestBlockhash"])
    async with world.daemon() as slow:
        run = asyncio.create_task(VoteAggregator(slow.context()).run())
        await world.until(lambda: world.closed_votes(market_id))
        async with world.database.service() as connection:
            await tallies.release(connection, VoteKind.PROPOSAL, market_id)
        await world.vote_on_proposal(market_id, yes=0, no=1)
        await world.misbehave()
        (action,) = await run

    assert not action.ok
    assert await world.outbox(market_id) == []
    assert await world.closed_votes(market_id) == []
    assert await world.states(market_id) == (PROPOSED, PROPOSED)


async def test_without_the_admins_key_the_counts_are_recorded_once_and_the_approval_is_awaited(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis, admin=ADMIN) as world:
        awaits = "select awaiting_admin_approval from markets where id = $1"
        told = "select body from stream_messages join streams on id = stream_id where name = $1"
        market_id = await popular_proposal(world)
        (recorded,) = await VoteAggregator(world.own.context()).run()
        assert (recorded.action, recorded.ok) == ("aggregate_proposal_votes", True)

        assert await world.fetch(awaits, market_id) == [(False,)]

        (waiting,) = await VoteAggregator(world.own.context()).run()

        assert (waiting.action, waiting.ok, waiting.awaits_admin) == ("awaiting_admin_approval", False, True)
        async with world.database.service_reader() as reader:
            assert (await system_gauges.read(reader, with_size=False)).approvals_awaiting == 1
        assert await world.fetch(awaits, market_id) == [(True,)]
        assert await VoteAggregator(world.own.context()).run() == [waiting]
        messages = await world.fetch(told, f"market:{market_id}")
        assert [json.loads(body)["data"].get("awaiting_admin_approval") for (body,) in messages].count(
            True
        ) == 1
        assert await world.outbox(market_id) == [("aggregate_proposal_votes", "landed")]
        with pytest.raises(VotingClosed):
            await world.vote_on_proposal(market_id, yes=1)
        approve = world.program.approve_proposal(admin=ADMIN.pubkey(), market=world.address(market_id))
        await world.act(ADMIN, approve)
        (noticed,) = await VoteAggregator(world.own.context()).run()
        assert noticed.action == "catch_up"
        async with world.database.service_reader() as reader:
            assert (await system_gauges.read(reader, with_size=False)).approvals_awaiting == 0
        assert await world.fetch(awaits, market_id) == [(False,)]
        assert await world.closed_votes(market_id) == []


async def test_a_daemon_without_a_key_skips_and_one_with_a_wrong_key_fails(world: World) -> None:
    with pytest.raises(NoAuthority, match="The daemon has no authority key"):
        await VoteAggregator(world.own.context(authority=None)).run()
    with pytest.raises(WrongAuthority, match=str(AUTHORITY.pubkey())):
        await VoteAggregator(world.own.context(authority=CREATOR)).run()
