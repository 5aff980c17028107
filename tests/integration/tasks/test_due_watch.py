"""Tasks run as soon as a market is due, on a real chain whose clock travels; no sweep comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count, pairwise

import asyncpg
from redis.asyncio import Redis

from tests import patience
from tests.integration.tasks.due_daemons import (
    AGGREGATOR,
    MONITOR,
    DueDaemon,
    due_daemon,
    prompted,
    reasons,
    require_no_sweep,
)
from tests.integration.tasks.failing_markets import problems, ruin, save
from tests.integration.tasks.test_settling_disputes import admin_decisions, waits_for
from tests.integration.tasks.world import (
    AUTHORITY,
    DISPUTE_PERIOD_SECONDS,
    HOLDERS,
    MIN_PROPOSAL_VOTES,
    RESOLVER,
    World,
)
from zmartd.chain.answers import ChainTime
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import SystemClock
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import Gap, Message, VoteCast
from zmartd.store import task_ledger
from zmartd.store.due_moments import DueMoment
from zmartd.tasks.due_watch import BETWEEN_SECONDS, SOON_SECONDS
from zmartd.tasks.reconciler import Reconciler

APPROVED, RESOLVING, DISPUTED, FINALIZED = (
    MarketState.APPROVED,
    MarketState.RESOLVING,
    MarketState.DISPUTED,
    MarketState.FINALIZED,
)
SOL = 10**9
CUT_OFF = """
select count(pg_terminate_backend(pid)) from pg_locks
 where relation = 'proposal_votes'::regclass and not granted
"""


async def comes_to(world: World, market_id: str, state: MarketState) -> None:
    async def is_there() -> bool:
        return await world.states(market_id) == (state, state)

    await world.until(is_there, patience.SECONDS)


async def comes_to_wait(world: World, market_id: str, *, awaiting: bool, settles: bool) -> None:
    async def waits() -> bool:
        return await waits_for(world, market_id) == (awaiting, settles)

    await world.until(waits, patience.SECONDS)


async def votes_through_api(world: World, market_id: str, yes: int) -> list[Message]:
    """Votes with a message as the API commits one with each, which is to be published."""
    await world.vote_on_proposal(market_id, yes)
    async with world.database.service() as connection:
        return await world.publisher.append(connection, [vote_message(market_id)])


def vote_message(market_id: str) -> Message:
    return Message(market_id, VoteCast(vote_type=VoteKind.PROPOSAL), datetime.now(UTC))


async def rest(world: World, task: str) -> None:
    """Return when no run of the task goes on or is wanted."""

    async def rests() -> bool:
        return not await world.fetch(
            """
            select from task_schedules as schedule where task = $1 and (prompted_at is not null or exists (
                select from task_runs as run where run.task = schedule.task and run.status = 'running'))
            """,
            task,
        )

    await world.until(rests, patience.SECONDS)


async def test_an_undisputed_market_is_finalized_when_its_time_has_come(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.resolving()
        await world.travel(DISPUTE_PERIOD_SECONDS)
        assert await world.states(market_id) == (RESOLVING, RESOLVING)
        await world.travel(61)
        await comes_to(world, market_id, FINALIZED)
        await rest(world, MONITOR)
        await require_no_sweep(world)
    (row,) = await prompted(world, MONITOR)
    ((due_at,),) = await world.fetch(
        "select resolution_proposed_at + make_interval(secs => $2) from markets where id = $1",
        market_id,
        DISPUTE_PERIOD_SECONDS + 60,
    )
    assert row.prompted_because == (
        f"due: finalization of market {market_id} at {due_at:%Y-%m-%dT%H:%M:%S}.000Z by the chain's clock"
    )
    assert (row.status, row.outcome, row.daemon, row.instants) == ("ran", "ok", "daemon-a", 1)
    assert [action["action"] for action in row.report["actions"]] == ["finalize_market"]
    assert await world.outbox(market_id) == [("finalize_market", "landed")]


async def test_a_dispute_is_counted_at_its_end_and_settled_after_the_veto(world: World) -> None:
    async with due_daemon(world, veto_seconds=3_600):
        market_id = await world.disputed(SOL, SOL)
        await world.vote_on_dispute(market_id, True, True)
        await world.travel(DISPUTE_PERIOD_SECONDS)
        await comes_to_wait(world, market_id, awaiting=False, settles=True)
        assert await world.states(market_id) == (DISPUTED, DISPUTED)
        await world.travel(3_600)
        await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)
    kinds = [reason.split()[1:4] for reason in await reasons(world, AGGREGATOR)]
    assert kinds == [["end", "of", "vote"], ["settlement", "of", "market"]]


async def test_a_decision_is_carried_out_at_once(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.disputed(SOL)
        await world.travel(DISPUTE_PERIOD_SECONDS)
        await comes_to_wait(world, market_id, awaiting=True, settles=False)
        await rest(world, AGGREGATOR)
        await admin_decisions(world).decide(market_id, Decision.REFUND, "nobody has voted at all", None)
        await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)


async def test_a_strangers_resolution_is_announced_and_disputed_in_time(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.resolving(SOL, resolver=RESOLVER)
        await comes_to_wait(world, market_id, awaiting=True, settles=False)
        await world.travel(DISPUTE_PERIOD_SECONDS * 3 // 4)
        await comes_to(world, market_id, DISPUTED)
        await require_no_sweep(world)


async def test_a_decision_about_a_strangers_resolution_is_carried_out_at_once(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.resolving(SOL, resolver=RESOLVER)
        await comes_to_wait(world, market_id, awaiting=True, settles=False)
        await admin_decisions(world).decide(market_id, Decision.OVERTURN, "it was NO, not YES", None)
        await comes_to(world, market_id, FINALIZED)
        assert (await world.account(market_id)).final_outcome is False
        await require_no_sweep(world)


async def test_a_petition_opens_a_dispute_when_enough_holders_have_asked(world: World) -> None:
    async with due_daemon(world, dispute_petition_bps=5_000):
        market_id = await world.resolving(SOL, SOL, SOL, SOL)
        await world.travel(60)
        await world.request_dispute(market_id, HOLDERS[0])
        await world.request_dispute(market_id, HOLDERS[1])
        await comes_to(world, market_id, DISPUTED)
        await require_no_sweep(world)
    assert await reasons(world, AGGREGATOR) == [f"due: petition of market {market_id}"]


async def test_a_proposal_is_approved_when_its_votes_suffice(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.proposal()
        await votes_through_api(world, market_id, MIN_PROPOSAL_VOTES)
        await comes_to(world, market_id, APPROVED)
        await require_no_sweep(world)
    assert await reasons(world, AGGREGATOR) == [f"due: approval of market {market_id}"]


async def test_a_market_that_cannot_be_finalized_waits_for_its_next_attempt_and_is_not_tried_before(
    world: World,
) -> None:
    async with due_daemon(world):
        market_id = await world.resolving()
        await ruin(world, market_id)
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        await world.until(lambda: problems(world), patience.SECONDS)
        await asyncio.sleep(4)
        assert await problems(world) == [(market_id, "BoundedLossExceeded", 1)]
        assert len(await prompted(world, MONITOR)) == 1

        await save(world, market_id)
        await world.travel(301)
        await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)
    assert len(await prompted(world, MONITOR)) == 2


async def test_what_was_due_while_no_daemon_ran_is_done_when_one_is_back(world: World) -> None:
    async with due_daemon(world):
        undisputed = await world.resolving()
        disputed = await world.disputed(SOL, SOL)
        await world.vote_on_dispute(disputed, True, True)
        proposed = await world.proposal()
    await world.vote_on_proposal(proposed, yes=MIN_PROPOSAL_VOTES)
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    async with due_daemon(world, "daemon-b"):
        await comes_to(world, undisputed, FINALIZED)
        await comes_to(world, disputed, FINALIZED)
        await comes_to(world, proposed, APPROVED)
        await require_no_sweep(world)


async def configure(
    world: World,
    seconds: int = DISPUTE_PERIOD_SECONDS,
    approval_bps: int = 7_000,
    *,
    indexed: bool = True,
) -> None:
    update = world.program.update_global_config(
        admin=AUTHORITY.pubkey(),
        protocol_fee_bps=300,
        resolver_reward_bps=200,
        liquidity_provider_fee_bps=500,
        proposal_approval_threshold=approval_bps,
        dispute_success_threshold=6_000,
        dispute_period=seconds,
    )
    await world.act(AUTHORITY, update, indexed=indexed)


async def test_a_configuration_whose_delivery_was_lost_counts_after_the_next_reconciliation(
    world: World,
) -> None:
    async with due_daemon(world, finalization_delay_seconds=0) as daemon:
        market_id = await world.resolving()
        await world.travel(3_600)
        await configure(world, 1_800, indexed=False)
        before = daemon.watch._looked_at
        async with asyncio.timeout(patience.SECONDS):
            while daemon.watch._looked_at == before:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        assert await prompted(world, MONITOR) == []
        await Reconciler(world.own.context()).run()
        await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)


async def test_a_changed_configuration_moves_every_deadline(world: World) -> None:
    async with due_daemon(world, finalization_delay_seconds=0, batch_size=2):
        markets = [await world.resolving() for _ in range(5)]
        disputed = await world.disputed(SOL, SOL)
        await world.vote_on_dispute(disputed, False, False)
        await world.travel(3_600)
        await configure(world, 1_800)
        for market_id in [*markets, disputed]:
            await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)
    runs = [row.report["actions"] for row in await prompted(world, MONITOR) if row.report]
    assert sorted(action["market_id"] for actions in runs for action in actions) == sorted(markets)
    assert max(len(actions) for actions in runs) == 2


async def test_a_proposal_is_approved_when_fewer_votes_suffice_than_before(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.proposal()
        await world.vote_on_proposal(market_id, yes=MIN_PROPOSAL_VOTES - 1, no=1)
        async with world.database.service() as connection:  # it is looked at, and forgotten
            await world.publisher.append(connection, [vote_message(market_id)])
        await asyncio.sleep(3)
        assert await prompted(world, AGGREGATOR) == []
        await configure(world, approval_bps=5_000)
        await comes_to(world, market_id, APPROVED)
        await require_no_sweep(world)


async def test_a_longer_period_is_waited_for(world: World) -> None:
    async with due_daemon(world, finalization_delay_seconds=0):
        market_id = await world.resolving()
        await configure(world, 2 * DISPUTE_PERIOD_SECONDS)
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        await asyncio.sleep(3)
        assert await prompted(world, MONITOR) == []
        await world.travel(DISPUTE_PERIOD_SECONDS)
        await comes_to(world, market_id, FINALIZED)


async def test_of_two_daemons_one_acts_once(world: World) -> None:
    async with due_daemon(world) as one, due_daemon(world, "daemon-b") as other:
        for daemon in (one, other):
            world.bus.add_observer(daemon.watch.heard)
        markets = [await world.resolving() for _ in range(3)]
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        for market_id in markets:
            await comes_to(world, market_id, FINALIZED)
        await rest(world, MONITOR)
        await require_no_sweep(world)
    for market_id in markets:
        assert await world.outbox(market_id) == [("finalize_market", "landed")]
    done = [row for row in await prompted(world, MONITOR) if row.report and row.report["actions"]]
    assert sum(len(row.report["actions"]) for row in done) == len(markets)


async def test_markets_are_finalized_in_time_while_redis_is_away(world: World, lost_redis: Redis) -> None:
    await require_finalized_once(world, lost_redis)


async def test_markets_are_finalized_in_time_while_redis_does_not_answer(
    world: World, silent_redis: Redis
) -> None:
    await require_finalized_once(world, silent_redis)


async def require_finalized_once(world: World, away: Redis) -> None:
    async with due_daemon(world, redis=away), due_daemon(world, "daemon-b", redis=away):
        market_id = await world.resolving()
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        await comes_to(world, market_id, FINALIZED)
        await require_no_sweep(world)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]


async def test_a_chain_whose_clock_stands_still_is_asked_now_and_then_and_prompts_nothing(
    world: World,
) -> None:
    asked, told = 0, ChainTime(1, 0)

    async def ask() -> ChainTime:
        nonlocal asked
        asked += 1
        return told

    async with due_daemon(world, ask=ask):
        market_id = await world.resolving()
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        ((proposed_at,),) = await world.fetch(
            "select extract(epoch from resolution_proposed_at)::bigint from markets where id = $1", market_id
        )
        told = ChainTime(1, proposed_at + DISPUTE_PERIOD_SECONDS + 59)  # a second before
        before = asked
        await asyncio.sleep(6)
        assert await prompted(world, MONITOR) == []
        assert 0 < asked - before <= 6 * 4
        told = ChainTime(2, told.unix_timestamp + 1)
        await comes_to(world, market_id, FINALIZED)


@asynccontextmanager
async def listening(world: World, daemon: DueDaemon) -> AsyncIterator[None]:
    """Let a daemon hear what others publish over Redis."""
    bus = Bus(world.redis, SystemClock())
    bus.add_observer(daemon.watch.heard)
    subscribed = asyncio.Event()

    async def listen() -> None:
        async for _ in bus.listen():
            subscribed.set()

    listener = asyncio.create_task(listen())
    await subscribed.wait()
    yield
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_what_another_daemon_publishes_is_acted_on_though_no_look_is_near(world: World) -> None:
    async with due_daemon(world, look_seconds=3_600.0) as daemon, listening(world, daemon):
        stranger = await world.active()
        await world.travel(60)
        await daemon.chain.refresh()  # that its clock has jumped is found by a look alone
        await world.resolve(stranger, RESOLVER, later_seconds=1)
        await comes_to_wait(world, stranger, awaiting=True, settles=False)
        await rest(world, AGGREGATOR)
        await admin_decisions(world).decide(stranger, Decision.OVERTURN, "it was NO, not YES", None)
        await comes_to(world, stranger, FINALIZED)
        proposed = await world.proposal()
        await world.publisher.publish(await votes_through_api(world, proposed, MIN_PROPOSAL_VOTES))
        await comes_to(world, proposed, APPROVED)
        await require_no_sweep(world)


async def test_a_look_that_postgres_cut_off_is_made_again_though_none_is_near(
    world: World, database_url: str
) -> None:
    async with due_daemon(world, look_seconds=3_600.0) as daemon:
        market_id = await world.proposal()
        await votes_through_api(world, market_id, MIN_PROPOSAL_VOTES)
        connection = await asyncpg.connect(database_url)
        async with connection.transaction():
            await connection.execute("lock table proposal_votes in access exclusive mode")
            daemon.watch.heard(vote_message(market_id))
            async with asyncio.timeout(patience.SECONDS):
                while not await connection.fetchval(CUT_OFF):  # noqa: ASYNC110 - only Postgres tells
                    await asyncio.sleep(0.02)
        await connection.close()
        await comes_to(world, market_id, APPROVED)
        await require_no_sweep(world)


async def test_a_moment_that_has_become_another_one_prompts_nothing(world: World) -> None:
    """It was looked up when it was a minute away, and nothing told the daemon of the change."""
    told = ChainTime(1, 0)

    async def ask() -> ChainTime:
        return told

    async with due_daemon(world, ask=ask, look_seconds=3_600.0) as daemon:
        market_id = await world.resolving(SOL)
        ((proposed_at,),) = await world.fetch(
            "select extract(epoch from resolution_proposed_at)::bigint from markets where id = $1", market_id
        )
        told = ChainTime(1, proposed_at + DISPUTE_PERIOD_SECONDS + 50)
        daemon.watch.heard(Gap())
        async with asyncio.timeout(patience.SECONDS):
            while not daemon.watch._ahead:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        await world.travel(60)
        await world.dispute(market_id)
        told = ChainTime(2, told.unix_timestamp + 20)
        async with asyncio.timeout(patience.SECONDS):
            while daemon.watch._ahead:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        assert await world.fetch("select kind from prompted_moments where task = $1", MONITOR) == []


async def test_votes_that_came_while_the_node_was_away_prompt_a_run_once_it_is_back(world: World) -> None:
    is_away = False

    async def ask() -> ChainTime:
        if is_away:
            raise RpcUnavailable("the node is away")
        return await world.own.rpc.chain_time()

    async with due_daemon(world, ask=ask):
        market_id = await world.proposal()
        is_away = True
        await votes_through_api(world, market_id, MIN_PROPOSAL_VOTES)
        await asyncio.sleep(4)
        assert await prompted(world, AGGREGATOR) == []
        is_away = False
        await comes_to(world, market_id, APPROVED)
        await require_no_sweep(world)


async def test_a_vote_is_looked_at_at_once_and_a_storm_of_them_twice_a_second(world: World) -> None:
    async with due_daemon(world, look_seconds=3_600.0) as daemon:
        watch, now = daemon.watch, asyncio.get_running_loop().time
        looks: list[float] = []
        numbers = count(1)

        def hear() -> None:
            watch.heard(vote_message(f"{next(numbers):064x}"))

        async with asyncio.timeout(patience.SECONDS):
            while len(looks) < 6:
                hear()
                if watch._looked_at not in looks:
                    looks.append(watch._looked_at)
                await asyncio.sleep(0.01)
            assert min(later - look for look, later in pairwise(looks)) >= BETWEEN_SECONDS
            while watch._occasion != "look" or now() < watch._tried_at + BETWEEN_SECONDS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        hear()
        assert watch._look_at <= now() + SOON_SECONDS


async def test_a_daemon_whose_node_refuses_leaves_the_looks_to_others_until_it_answers(world: World) -> None:
    refuses, one_has_failed = True, asyncio.Event()

    async def ask() -> ChainTime:
        if refuses:
            one_has_failed.set()
            raise RpcRejected("getClock", 403, "no")
        return await world.own.rpc.chain_time()

    async def ask_later() -> ChainTime:
        await one_has_failed.wait()
        return await world.own.rpc.chain_time()

    async with (
        due_daemon(world, "daemon-good", ask=ask_later) as good,
        due_daemon(world, "daemon-bad", ask=ask) as bad,
    ):
        market_id = await world.resolving()
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        await comes_to(world, market_id, FINALIZED)
        await rest(world, MONITOR)

        async def looks_on(daemon: DueDaemon, times: int) -> None:
            for _ in range(times):
                before = daemon.watch._looked_at
                async with asyncio.timeout(patience.SECONDS):
                    while daemon.watch._looked_at == before:  # noqa: ASYNC110 - it tells nobody
                        await asyncio.sleep(0.02)

        long_ago = datetime(1970, 1, 1, tzinfo=UTC)
        async with asyncio.timeout(patience.SECONDS):
            while not bad.watch._refusals:
                bad.watch._ahead = [DueMoment(long_ago, market_id, MONITOR, "finalization")]
                await asyncio.sleep(0.02)
        before = bad.watch._looked_at
        await looks_on(good, 4)
        assert bad.watch._looked_at == before
        refuses = False
        await looks_on(bad, 1)
        await require_no_sweep(world)


async def test_votes_that_came_during_a_pause_prompt_a_run_after_it(world: World) -> None:
    async with due_daemon(world):
        market_id = await world.proposal()
        async with world.database.service_reader() as connection:
            await task_ledger.pause(connection, AGGREGATOR, None, "the node moves", "ann")
        await votes_through_api(world, market_id, MIN_PROPOSAL_VOTES)
        await asyncio.sleep(4)
        assert await prompted(world, AGGREGATOR) == []
        async with world.database.service_reader() as connection:
            await task_ledger.resume(connection, AGGREGATOR)
        await comes_to(world, market_id, APPROVED)
        await require_no_sweep(world)
