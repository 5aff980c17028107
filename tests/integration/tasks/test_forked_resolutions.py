"""A fork takes a market's resolution and brings one with the other outcome: opinions about the first decide
nothing about the second.
"""

from __future__ import annotations

from tests.integration.indexer.test_reconcile import open_slot, roll_back, settled
from tests.integration.tasks.test_untrusted_resolutions import (
    LONG_AFTER_SECONDS,
    admin_decisions,
    aggregate,
    monitor,
)
from tests.integration.tasks.world import DISPUTE_PERIOD_SECONDS, HOLDERS, RESOLVER, World
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import decisions, dispute_requests, voters

ACTIVE, RESOLVING = MarketState.ACTIVE, MarketState.RESOLVING
SOL = 10**9


async def traded(world: World) -> str:
    """A market in which two holders have an equal stake."""
    market_id = await world.active()
    for holder in HOLDERS[:2]:
        await world.buy(market_id, holder, SOL)
    return market_id


async def fork_takes_everything_from(world: World, slot: int) -> None:
    """Return when confirmed blocks are as late as those that are gone: the clock does not travel back."""
    rpc = world.own.rpc
    before = (await rpc.chain_time()).unix_timestamp
    await roll_back(world, slot)

    async def is_as_late() -> bool:
        return (await rpc.chain_time()).unix_timestamp >= before

    await world.until(is_as_late)


async def fork_is_indexed_from(world: World, slot: int, market_id: str) -> None:
    await fork_takes_everything_from(world, slot)
    await settled(world)
    assert await world.states(market_id) == (ACTIVE, ACTIVE)


async def test_requests_to_dispute_one_outcome_do_not_dispute_another(world: World) -> None:
    market_id = await traded(world)
    slot = await open_slot(world)
    await world.resolve(market_id)
    await world.request_dispute(market_id, HOLDERS[0])
    await fork_is_indexed_from(world, slot, market_id)

    await world.resolve(market_id, outcome=False)
    await world.travel(60)

    assert await aggregate(world) == []
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
    async with world.database.service_reader() as connection:
        assert (await dispute_requests.counts(connection, market_id, 0)).requests == 0
    await world.request_dispute(market_id, HOLDERS[0])
    (opened,) = await aggregate(world)
    assert (opened.action, opened.ok) == ("initiate_dispute", True)


async def test_requests_count_again_when_the_same_transaction_is_indexed_again(world: World) -> None:
    market_id = await traded(world)
    await world.resolve(market_id)
    await world.request_dispute(market_id, HOLDERS[0])
    ((signature, slot),) = await world.fetch(
        "select resolved_in, event.slot from markets join market_events as event"
        " on market_id = markets.id and tx_signature = resolved_in where markets.id = $1",
        market_id,
    )

    async def requests() -> int:
        async with world.database.service_reader() as connection:
            return (await dispute_requests.counts(connection, market_id, 0)).requests

    await world.own.fetcher.indexer.roll_back([TransactionInSlot(slot, signature)])
    assert await requests() == 0
    await world.own.fetcher.apply_signature(signature)
    assert await requests() == 1


async def test_votes_about_one_outcome_do_not_count_about_another(world: World) -> None:
    market_id = await traded(world)
    slot = await open_slot(world)
    await world.resolve(market_id)
    await world.travel(60)
    await world.dispute(market_id)
    await world.vote_on_dispute(market_id, True, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    # Its votes are closed, counted and announced when the fork takes them.
    (announced,) = await aggregate(world, veto_seconds=10**6)
    assert announced.action == "announce_settlement"
    await fork_is_indexed_from(world, slot, market_id)
    assert await world.closed_votes(market_id) == []

    await world.resolve(market_id, outcome=False)
    await world.travel(60)
    await world.dispute(market_id)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[0], False)
    async with world.database.service_reader() as connection:
        cast = await voters.not_verified(connection, market_id, "", 9)
    assert [(vote.wallet, vote.vote) for vote in cast] == [(str(HOLDERS[0].pubkey()), False)]
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (action,) = await aggregate(world)

    assert (action.action, action.ok) == ("finalize_market", True)
    account = await world.account(market_id)
    assert (account.dispute_agree, account.dispute_disagree, account.final_outcome) == (0, 1, False)


async def test_a_decision_about_one_outcome_is_not_carried_out_on_another(world: World) -> None:
    market_id = await traded(world)
    slot = await open_slot(world)
    await world.resolve(market_id, RESOLVER)
    await admin_decisions(world).decide(market_id, Decision.OVERTURN, "it was NO, not YES", None)
    await fork_is_indexed_from(world, slot, market_id)
    async with world.database.service_reader() as connection:
        assert await decisions.of_market(connection, market_id) == ()

    await world.resolve(market_id, RESOLVER, outcome=False)
    await world.travel(60)

    (waits,) = await aggregate(world)
    assert waits.action == "await_decision"
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
    await admin_decisions(world).decide(market_id, Decision.KEEP, "it is NO, as proposed", None)
    assert await aggregate(world) == []
    async with world.database.service_reader() as connection:
        (decided,) = await decisions.of_market(connection, market_id)
    assert decided.decision is Decision.KEEP


async def test_a_decision_waits_while_the_index_still_has_the_outcome_that_a_fork_took(world: World) -> None:
    market_id = await traded(world)
    slot = await open_slot(world)
    await world.resolve(market_id, RESOLVER)
    await world.request_dispute(market_id, HOLDERS[0])
    await admin_decisions(world).decide(market_id, Decision.OVERTURN, "it was NO, not YES", None)
    await fork_takes_everything_from(world, slot)
    await world.resolve(market_id, RESOLVER, outcome=False, indexed=False)
    await world.travel(60)

    actions = await aggregate(world)

    assert {action.action for action in actions} == {"catch_up"}
    (waits,) = await aggregate(world)
    assert waits.action == "await_decision"
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
    assert await world.outbox(market_id) == []


async def test_an_outcome_that_was_kept_is_not_the_one_that_time_makes_final(world: World) -> None:
    market_id = await traded(world)
    slot = await open_slot(world)
    await world.resolve(market_id, RESOLVER)
    await admin_decisions(world).decide(market_id, Decision.KEEP, "it is YES, as proposed", None)
    await fork_takes_everything_from(world, slot)
    await world.resolve(market_id, RESOLVER, outcome=False, indexed=False)
    await world.travel(LONG_AFTER_SECONDS)

    (action,) = await monitor(world)

    assert action.action == "catch_up"
    assert await monitor(world) == []
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
