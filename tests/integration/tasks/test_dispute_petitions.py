from __future__ import annotations

import asyncio

from tests.integration.tasks.world import AUTHORITY, DISPUTE_PERIOD_SECONDS, HOLDERS, World
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.vote_aggregator import VoteAggregator

RESOLVING, DISPUTED = MarketState.RESOLVING, MarketState.DISPUTED


async def test_the_authority_opens_a_dispute_when_enough_holders_ask_for_it(world: World) -> None:
    market_id = await world.resolving(*[10**8] * 4)
    half = world.own.context(dispute_petition_bps=5_000)
    await world.travel(60)
    await world.request_dispute(market_id, HOLDERS[0])
    assert await VoteAggregator(half).run() == []
    assert await world.states(market_id) == (RESOLVING, RESOLVING)

    await world.request_dispute(market_id, HOLDERS[1])

    (action,) = await VoteAggregator(half).run()
    assert (action.action, action.ok, action.detail) == (
        "initiate_dispute",
        True,
        "2 of 4 holders and 50 % of the stake ask for it",
    )
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    assert (await world.account(market_id)).dispute_initiator == AUTHORITY.pubkey()


async def test_a_petition_that_carries_after_the_window_has_closed_opens_nothing(world: World) -> None:
    market_id = await world.resolving(10**8)
    await world.request_dispute(market_id, HOLDERS[0])
    await world.travel(DISPUTE_PERIOD_SECONDS)
    assert await VoteAggregator(world.own.context()).run() == []
    assert await world.states(market_id) == (RESOLVING, RESOLVING)


async def test_two_daemons_open_one_dispute(world: World) -> None:
    market_id = await world.resolving(10**8)
    await world.request_dispute(market_id, HOLDERS[0])
    await world.travel(60)
    async with world.daemon() as other:
        runs = await asyncio.gather(
            VoteAggregator(world.own.context()).run(), VoteAggregator(other.context()).run()
        )
    assert all(action.ok for run in runs for action in run)
    assert await world.outbox(market_id) == [("initiate_dispute", "landed")]
    assert await world.states(market_id) == (DISPUTED, DISPUTED)


async def test_a_dispute_that_a_wallet_opened_first_is_only_indexed(world: World) -> None:
    market_id = await world.resolving(10**8)
    await world.request_dispute(market_id, HOLDERS[0])
    await world.travel(60)
    await world.dispute(market_id, indexed=False)
    (action,) = await VoteAggregator(world.own.context()).run()
    assert (action.action, action.ok) == ("catch_up", True)
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    assert await world.outbox(market_id) == []
