from __future__ import annotations

import asyncio
import dataclasses

import pytest

from tests.integration.tasks.failing_markets import problems, ruin, save
from tests.integration.tasks.manual_clock import ManualClock
from tests.integration.tasks.test_settling_disputes import admin_decisions
from tests.integration.tasks.world import AUTHORITY, DISPUTE_PERIOD_SECONDS, RESOLVER, World, killed_once
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.market_monitor import MarketMonitor

RESOLVING, FINALIZED = MarketState.RESOLVING, MarketState.FINALIZED
UNKNOWN_MARKET = "0" * 64


async def due_market(world: World) -> str:
    market_id = await world.resolving()
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    return market_id


async def test_a_market_is_finalized_when_both_periods_and_the_margin_have_passed(world: World) -> None:
    market_id = await world.resolving()
    await world.travel(DISPUTE_PERIOD_SECONDS + 50)
    assert await MarketMonitor(world.own.context()).run() == []

    await world.travel(11)

    (action,) = await MarketMonitor(world.own.context()).run()
    assert (action.market_id, action.action, action.ok) == (market_id, "finalize_market", True)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
    assert (await world.account(market_id)).final_outcome is True
    assert await MarketMonitor(world.own.context()).run() == []


async def test_a_delay_longer_than_the_programs_period_is_waited_for(world: World) -> None:
    market_id = await due_market(world)
    patient = world.own.context(finalization_delay_seconds=DISPUTE_PERIOD_SECONDS + 3_600)
    assert await MarketMonitor(patient).run() == []
    await world.travel(3_600)
    (action,) = await MarketMonitor(patient).run()
    assert action.ok
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_a_market_that_cannot_be_finalized_waits_longer_each_time_and_holds_up_no_other(
    world: World,
) -> None:
    hopeless = await world.resolving()
    await ruin(world, hopeless)
    await world.travel(60)
    healthy = await due_market(world)
    one_at_a_time = MarketMonitor(world.own.context(batch_size=1))

    (failed,) = await one_at_a_time.run()
    assert (failed.market_id, failed.ok) == (hopeless, False)
    assert failed.detail.startswith("BoundedLossExceeded: ")
    assert await problems(world) == [(hopeless, "BoundedLossExceeded", 1)]

    (finalized,) = await one_at_a_time.run()
    assert (finalized.market_id, finalized.ok) == (healthy, True)
    assert await one_at_a_time.run() == []

    await world.travel(301)
    await one_at_a_time.run()
    assert await problems(world) == [(hopeless, "BoundedLossExceeded", 2)]
    await world.travel(301)
    await one_at_a_time.run()
    assert await problems(world) == [(hopeless, "BoundedLossExceeded", 2)]

    await save(world, hopeless)
    await world.travel(301)
    (saved,) = await one_at_a_time.run()
    assert saved.ok
    assert await problems(world) == []
    assert await world.fetch("select attempt_count, resolved_by from market_finalization_errors") == [
        (2, "auto")
    ]


async def test_a_market_that_the_chain_does_not_know_is_told_and_holds_up_no_other(world: World) -> None:
    market_id = await due_market(world)
    async with world.database.service() as connection:
        await connection.execute(
            """
            insert into markets (id, on_chain_address, state, chain_confirmed, resolution_proposed_at,
                                 creator_wallet, resolver_wallet)
            values ($1, $2, 'RESOLVING', true, 'epoch', $2, $2)
            """,
            UNKNOWN_MARKET,
            str(AUTHORITY.pubkey()),
        )
    one_at_a_time = MarketMonitor(world.own.context(batch_size=1))
    first = await one_at_a_time.run()
    assert (first[0].market_id, first[0].ok) == (UNKNOWN_MARKET, False)
    assert await problems(world) == [(UNKNOWN_MARKET, "market_account_missing", 1)]
    second = await one_at_a_time.run()
    assert (second[0].market_id, second[0].ok) == (market_id, True)


async def require_told_and_no_hindrance(world: World, wrong: str, healthy: str) -> None:
    one_at_a_time = MarketMonitor(world.own.context(batch_size=1))
    (told,) = await one_at_a_time.run()
    assert (told.market_id, told.action, told.ok) == (wrong, "finalize_market", False)
    assert told.detail.startswith("not_caught_up: the account and the index have different resolutions")
    assert "(attempt 1, again after " in told.detail
    assert await problems(world) == [(wrong, "not_caught_up", 1)]
    (finalized,) = await one_at_a_time.run()
    assert (finalized.market_id, finalized.ok) == (healthy, True)
    assert await one_at_a_time.run() == []
    assert await world.outbox(wrong) == []


async def test_a_market_that_is_due_by_the_index_alone_is_told_and_holds_up_no_other(world: World) -> None:
    healthy = await world.resolving()
    await world.travel(DISPUTE_PERIOD_SECONDS)
    wrong = await world.resolving()
    await world.travel(61)
    async with world.database.service() as connection:
        await connection.execute(
            "update markets set resolution_proposed_at = resolution_proposed_at - make_interval(secs => $2)"
            " where id = $1",
            wrong,
            DISPUTE_PERIOD_SECONDS + 1_800,
        )
    await require_told_and_no_hindrance(world, wrong, healthy)


@pytest.mark.parametrize(
    ("decision", "mistake"),
    [(None, "resolver_wallet = creator_wallet"), (Decision.KEEP, "proposed_outcome = not proposed_outcome")],
)
async def test_a_strangers_resolution_that_the_index_has_wrongly_is_told_and_holds_up_no_other(
    world: World, decision: Decision | None, mistake: str
) -> None:
    wrong = await world.resolving(resolver=RESOLVER)
    if decision is not None:
        await admin_decisions(world).decide(wrong, decision, "it is YES, as proposed", None)
    await world.travel(60)
    healthy = await due_market(world)
    async with world.database.service() as connection:
        await connection.execute(f"update markets set {mistake} where id = $1", wrong)
    await require_told_and_no_hindrance(world, wrong, healthy)


async def test_two_daemons_finalize_a_market_once(world: World) -> None:
    market_id = await due_market(world)
    before = await world.executed(market_id)
    async with world.daemon() as other:
        runs = await asyncio.gather(
            MarketMonitor(world.own.context()).run(), MarketMonitor(other.context()).run()
        )
    assert all(action.ok for run in runs for action in run)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.executed(market_id) == before + 1


async def test_a_run_that_was_killed_before_its_transaction_landed_is_continued_with_the_same_one(
    world: World,
) -> None:
    market_id = await due_market(world)
    await world.misbehave(loseNext=1_000)
    await killed_once(world, MarketMonitor, lambda: world.outbox(market_id))
    await world.misbehave()
    (action,) = await MarketMonitor(world.own.context()).run()
    assert action.ok
    assert await world.outbox(market_id) == [("finalize_market", "landed")]


async def test_a_market_that_was_finalized_already_is_only_indexed(world: World) -> None:
    market_id = await due_market(world)
    finalize = world.program.finalize_market(
        backend_authority=AUTHORITY.pubkey(), market=world.address(market_id)
    )
    await world.act(AUTHORITY, finalize, indexed=False)
    (action,) = await MarketMonitor(world.own.context()).run()
    assert action.detail == "already FINALIZED on the chain; 1 missing transactions applied"
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
    assert await world.outbox(market_id) == []


async def test_stuck_markets_are_told_and_alarm_only_where_a_task_should_have_acted(world: World) -> None:
    forgotten = await world.proposal()
    hopeless = await world.resolving()
    await ruin(world, hopeless)
    await world.travel(DISPUTE_PERIOD_SECONDS + 60 + 3_601)
    clock = ManualClock()
    context = world.own.context(overdue_for_seconds=60)
    patient = MarketMonitor(dataclasses.replace(context, clock=clock))
    for seconds in (0, 59.5):
        clock.advance(seconds)
        assert "stuck" not in {action.action for action in await patient.run()}, "the clock has jumped"
    clock.advance(0.5)
    assert "stuck" in {action.action for action in await patient.run()}
    late = (await MarketMonitor(world.own.context()).run())[-1]
    assert (late.action, late.ok) == ("stuck", False)
    assert late.detail == f"1 RESOLVING should have been finalized more than an hour ago: {hopeless}"

    await world.travel(604_800)

    actions = await MarketMonitor(world.own.context()).run()
    told = {action.detail: action.ok for action in actions if action.action == "stuck"}
    assert told[f"1 PROPOSED have gathered no approval for long: {forgotten}"] is True
    assert told[late.detail] is False
