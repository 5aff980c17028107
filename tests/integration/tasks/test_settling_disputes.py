from __future__ import annotations

import asyncio

import pytest
from world import AUTHORITY, DISPUTE_PERIOD_SECONDS, World, killed_once

from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.tasks.vote_aggregator import VoteAggregator

DISPUTED, FINALIZED = MarketState.DISPUTED, MarketState.FINALIZED


async def ended_dispute(world: World, yes: int, no: int = 0) -> str:
    market_id = await world.disputed()
    await world.vote(VoteKind.DISPUTE, market_id, yes, no)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    return market_id


@pytest.mark.parametrize(
    ("agree", "disagree", "outcome", "detail"),
    [
        (3, 2, False, "3 of 5 votes agree: the outcome flipped to NO"),
        (1, 1, True, "1 of 2 votes agree: the outcome stays YES"),
    ],
)
async def test_a_dispute_is_settled_by_its_votes(
    world: World, agree: int, disagree: int, outcome: bool, detail: str
) -> None:
    market_id = await ended_dispute(world, agree, disagree)

    (action,) = await VoteAggregator(world.own.context()).run()

    assert (action.action, action.ok, action.detail) == ("finalize_market", True, detail)
    account = await world.account(market_id)
    assert (account.final_outcome, account.was_disputed) == (outcome, True)
    assert (account.dispute_agree, account.dispute_disagree) == (agree, disagree)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
    assert await world.closed_votes(market_id) == []


async def test_votes_are_counted_a_dispute_period_after_the_dispute_not_after_the_resolution(
    world: World,
) -> None:
    market_id = await world.disputed()  # a minute after its resolution
    await world.vote(VoteKind.DISPUTE, market_id, yes=1)
    await world.travel(DISPUTE_PERIOD_SECONDS - 30)
    assert await VoteAggregator(world.own.context()).run() == []
    await world.vote(VoteKind.DISPUTE, market_id, yes=1)

    await world.travel(30)

    (action,) = await VoteAggregator(world.own.context()).run()
    assert action.detail == "2 of 2 votes agree: the outcome flipped to NO"


async def test_a_dispute_that_nobody_voted_on_stays_disputed_and_is_told_until_somebody_votes(
    world: World,
) -> None:
    market_id = await ended_dispute(world, yes=0)
    for _ in range(2):
        (action,) = await VoteAggregator(world.own.context()).run()
        assert (action.action, action.ok) == ("await_dispute_votes", False)
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    assert await world.outbox(market_id) == []

    await world.vote(VoteKind.DISPUTE, market_id, yes=0, no=1)

    (settled,) = await VoteAggregator(world.own.context()).run()
    assert settled.detail == "0 of 1 votes agree: the outcome stays YES"


async def test_two_daemons_settle_a_dispute_once(world: World) -> None:
    market_id = await ended_dispute(world, yes=1)
    async with world.daemon() as other:
        runs = await asyncio.gather(
            VoteAggregator(world.own.context()).run(), VoteAggregator(other.context()).run()
        )
    assert all(action.ok for run in runs for action in run)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_a_dispute_that_was_settled_before_the_run_was_killed_is_only_indexed(world: World) -> None:
    market_id = await ended_dispute(world, yes=1)
    await world.misbehave(failRate=1, methods=["getTransaction"])
    await killed_once(world, VoteAggregator, lambda: world.has_landed(market_id))
    await world.misbehave()

    (action,) = await VoteAggregator(world.own.context()).run()

    assert (action.action, action.ok) == ("reconcile", True)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.closed_votes(market_id) == []


async def test_a_silent_dispute_that_an_operator_settled_is_only_indexed(world: World) -> None:
    market_id = await ended_dispute(world, yes=0)
    finalize = world.program.aggregate_dispute_votes(
        backend_authority=AUTHORITY.pubkey(),
        market=world.address(market_id),
        final_agrees=0,
        final_disagrees=0,
    )
    await world.act(AUTHORITY, finalize, indexed=False)
    (action,) = await VoteAggregator(world.own.context()).run()
    assert (action.action, action.ok) == ("reconcile", True)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
