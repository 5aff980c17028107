from __future__ import annotations

import asyncio
import dataclasses

import msgspec

from tests.integration.tasks.manual_clock import ManualClock
from tests.integration.tasks.world import AUTHORITY, DISPUTE_PERIOD_SECONDS, World, killed_once
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.market_monitor import MarketMonitor

RESOLVING, FINALIZED = MarketState.RESOLVING, MarketState.FINALIZED
UNKNOWN_MARKET = "0" * 64


async def due_market(world: World) -> str:
    market_id = await world.resolving()
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    return market_id


async def alter(world: World, market_id: str, **fields: int) -> None:
    """Change a market's account behind the program's back."""
    account = msgspec.structs.replace(await world.account(market_id), **fields)
    data = account.encode().ljust(488, b"\0").hex()
    await world.cheat("surfnet_setAccount", str(world.address(market_id)), {"data": data})


async def ruin(world: World, market_id: str) -> None:
    """Let a market have lost more than the program allows."""
    await alter(world, market_id, initial_liquidity=10**12, current_liquidity=0)


async def save(world: World, market_id: str) -> None:
    await alter(world, market_id, initial_liquidity=10**9, current_liquidity=10**9)


async def problems(world: World) -> list[tuple[str, str, int]]:
    return await world.fetch(
        """
        select market_id, error_code, attempt_count from market_finalization_errors where resolved_at is null
        """
    )


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
