from __future__ import annotations

import asyncio
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.tasks.world import CREATOR, DISPUTE_PERIOD_SECONDS, HOLDERS, RESOLVER, World
from zmartd.chain.signed_transactions import TransactionFailed
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.store.decisions import AlreadyDecided
from zmartd.tasks.admin_decisions import AdminDecisions, DisputeWindowClosed, NothingToDecide
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.base import TaskAction
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.tasks.vote_aggregator import VoteAggregator

RESOLVING, DISPUTED, FINALIZED = MarketState.RESOLVING, MarketState.DISPUTED, MarketState.FINALIZED
SOL = 10**9
AUTOMATIC_DISPUTE_SECONDS = DISPUTE_PERIOD_SECONDS * 3 // 4
LONG_AFTER_SECONDS = 30 * 86_400


async def aggregate(world: World, **settings: Any) -> list[TaskAction]:
    return await VoteAggregator(world.own.context(**settings)).run()


async def monitor(world: World, **settings: Any) -> list[TaskAction]:
    """What the market monitor did, without what it says of stuck markets."""
    actions = await MarketMonitor(world.own.context(**settings)).run()
    return [action for action in actions if action.action != "stuck"]


def admin_decisions(world: World) -> AdminDecisions:
    return AdminDecisions(
        world.database, world.own.rpc, world.program, Announcements(world.database, world.publisher), ()
    )


async def awaits_decision(world: World, market_id: str) -> bool:
    ((awaits,),) = await world.fetch("select awaiting_decision from markets where id = $1", market_id)
    return bool(awaits)


async def test_time_alone_never_finalizes_what_a_stranger_proposed(world: World) -> None:
    market_id = await world.resolving(SOL, resolver=RESOLVER)

    (alert,) = await aggregate(world)
    assert (alert.market_id, alert.action, alert.ok) == (market_id, "await_decision", False)
    assert str(RESOLVER.pubkey()) in alert.detail
    assert await awaits_decision(world, market_id)
    await world.travel(LONG_AFTER_SECONDS)

    assert await monitor(world) == []
    (alert,) = await aggregate(world)
    assert alert.detail.endswith("the program only knows the proposed outcome now, and --keep makes it final")
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
    assert await world.outbox(market_id) == []


async def test_the_account_says_whose_resolution_it_is_whatever_the_index_was_told(world: World) -> None:
    market_id = await world.resolving(SOL, resolver=RESOLVER)
    await world.fetch(
        "update markets set resolver_wallet = creator_wallet where id = $1 returning true", market_id
    )
    await world.travel(LONG_AFTER_SECONDS)
    (told,) = await monitor(world)
    assert (told.market_id, told.ok) == (market_id, False)
    assert await world.states(market_id) == (RESOLVING, RESOLVING)


async def test_the_creators_and_a_trusted_resolvers_are_finalized_by_time(world: World) -> None:
    by_creator = await world.resolving(SOL, resolver=CREATOR)
    by_trusted = await world.resolving(SOL, resolver=RESOLVER)
    trusted = {"trusted_resolvers": (str(RESOLVER.pubkey()),)}
    assert await aggregate(world, **trusted) == []
    await world.travel(LONG_AFTER_SECONDS)
    finalized = await monitor(world, **trusted)
    assert {action.market_id for action in finalized} == {by_creator, by_trusted}
    assert all(action.ok for action in finalized)


async def test_late_in_the_window_the_backend_disputes_it_itself(world: World) -> None:
    market_id = await world.resolving(SOL, SOL, resolver=RESOLVER)
    await world.travel(AUTOMATIC_DISPUTE_SECONDS - 30)
    (waiting,) = await aggregate(world)
    assert waiting.action == "await_decision"

    await world.travel(30)
    (disputed,) = await aggregate(world)

    assert (disputed.action, disputed.ok) == ("initiate_dispute", True)
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    assert not await awaits_decision(world, market_id)
    await world.vote_on_dispute(market_id, True, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (settled,) = await aggregate(world)
    assert settled.action == "finalize_market"
    assert (await world.account(market_id)).final_outcome is False


async def test_two_daemons_dispute_it_once(world: World) -> None:
    market_id = await world.resolving(SOL, resolver=RESOLVER)
    await world.travel(AUTOMATIC_DISPUTE_SECONDS)
    async with world.daemon() as other:
        runs = await asyncio.gather(aggregate(world), VoteAggregator(other.context()).run())
    assert all(action.ok for run in runs for action in run)
    assert await world.outbox(market_id) == [("initiate_dispute", "landed")]


@pytest.mark.parametrize(("decision", "outcome"), [(Decision.OVERTURN, False), (Decision.REFUND, None)])
async def test_an_admin_overturns_or_refunds_in_one_transaction(
    world: World, decision: Decision, outcome: bool | None
) -> None:
    market_id = await world.resolving(SOL, SOL, resolver=RESOLVER)
    await aggregate(world)

    await world.travel(60)
    await admin_decisions(world).decide(market_id, decision, "resolved minutes after it opened", None)
    assert not await awaits_decision(world, market_id)
    (action,) = await aggregate(world)

    assert (action.action, action.ok) == (f"{decision.value}_resolution", True)
    account = await world.account(market_id)
    assert (account.final_outcome, account.was_disputed) == (outcome, True)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
    if decision is Decision.REFUND:
        before = await lamports(world, HOLDERS[0])
        claim = world.program.claim_winnings(
            user=HOLDERS[0].pubkey(), market=world.address(market_id), resolver=RESOLVER.pubkey()
        )
        await world.act(HOLDERS[0], claim)
        assert SOL * 98 // 100 < await lamports(world, HOLDERS[0]) - before <= SOL


async def lamports(world: World, wallet: Keypair) -> int:
    return (await world.own.rpc.balances_at_once([wallet.pubkey()]))[wallet.pubkey()]


async def test_what_an_admin_keeps_is_finalized_by_time_and_can_still_be_disputed(world: World) -> None:
    kept = await world.resolving(SOL, resolver=RESOLVER)
    disputed = await world.resolving(SOL, resolver=RESOLVER)
    for market_id in (kept, disputed):
        await admin_decisions(world).decide(market_id, Decision.KEEP, "the stranger was right", None)
    await world.travel(60)
    assert await aggregate(world) == []
    await world.dispute(disputed)
    await world.travel(LONG_AFTER_SECONDS)

    (finalized,) = await monitor(world)
    (awaiting,) = await aggregate(world)

    assert (finalized.market_id, finalized.detail) == (kept, "an admin decided to keep the outcome")
    assert (awaiting.market_id, awaiting.action) == (disputed, "await_decision")
    await admin_decisions(world).decide(disputed, Decision.OVERTURN, "it turned out otherwise", None)
    (settled,) = await aggregate(world)
    assert settled.detail == "decided to overturn: it turned out otherwise"
    assert (await world.account(disputed)).final_outcome is False


async def test_there_is_nothing_to_decide_about_what_the_creator_proposed_or_once_it_is_too_late(
    world: World,
) -> None:
    by_creator = await world.resolving(SOL, resolver=CREATOR)
    with pytest.raises(NothingToDecide, match="time makes it final"):
        await admin_decisions(world).decide(by_creator, Decision.REFUND, "I would like another one", None)
    active = await world.active()
    with pytest.raises(NothingToDecide, match="this one is ACTIVE"):
        await admin_decisions(world).decide(active, Decision.REFUND, "I would like another one", None)

    by_stranger = await world.resolving(SOL, resolver=RESOLVER)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    with pytest.raises(DisputeWindowClosed):
        await admin_decisions(world).decide(by_stranger, Decision.OVERTURN, "only now we noticed it", None)
    await admin_decisions(world).decide(by_stranger, Decision.KEEP, "there is no other way", None)
    with pytest.raises(AlreadyDecided):
        await admin_decisions(world).decide(by_stranger, Decision.KEEP, "there is no other way", None)
    await world.travel(86_400)
    finalized = {action.market_id for action in await monitor(world)}
    assert finalized == {by_creator, by_stranger}


async def test_a_decision_that_comes_too_late_to_be_carried_out_is_reported(world: World) -> None:
    market_id = await world.resolving(SOL, resolver=RESOLVER)
    await admin_decisions(world).decide(market_id, Decision.OVERTURN, "it was decided in time", None)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (late,) = await aggregate(world)
    assert not late.ok
    assert late.detail.endswith("the decision to overturn cannot be carried out any more")
    with pytest.raises(TransactionFailed):
        await world.dispute(market_id)
