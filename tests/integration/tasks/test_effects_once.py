"""What the authority does to a market is done once: whatever forks, expiries and other daemons do."""

from __future__ import annotations

import asyncio
from typing import Any

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction
from structlog.testing import capture_logs

from tests import patience
from tests.integration.indexer.test_reconcile import open_slot, roll_back
from tests.integration.tasks.test_approving import popular_proposal
from tests.integration.tasks.test_finalizing import due_market
from tests.integration.tasks.world import AUTHORITY, DISPUTE_PERIOD_SECONDS, EXPIRY_SLOTS, HOLDERS, World
from zmartd.chain.network_fees import compute_request, priority_lamports
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import tallies
from zmartd.tasks.authority import UNREADABLE, Authority
from zmartd.tasks.base import TaskAction
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.tasks.meant import round_of
from zmartd.tasks.vote_aggregator import VoteAggregator
from zmartd.transactions.submission import OtherUnderWay

RESOLVING, FINALIZED, PROPOSED = MarketState.RESOLVING, MarketState.FINALIZED, MarketState.PROPOSED
PRICED = 20_000


async def monitor(world: World, **settings: Any) -> list[TaskAction]:
    return await MarketMonitor(world.own.context(**settings)).run()


async def sent(world: World, market_id: str) -> list[Transaction]:
    """All transactions for a market, oldest first."""
    rows = await world.fetch(
        "select wire from transaction_intents join outbox_transactions using (signature)"
        " where market_id = $1 order by outbox_transactions.created_at",
        market_id,
    )
    return [Transaction.from_bytes(wire) for (wire,) in rows]


async def requested(world: World, market_id: str) -> list[tuple[int, int]]:
    """The compute units and the price of each of them."""
    return [compute_request(one.message) for one in await sent(world, market_id)]


async def other_blockhash(world: World) -> None:
    """Wait until the same instructions make another transaction."""
    before = (await world.own.rpc.latest_blockhash()).blockhash

    async def is_another() -> bool:
        return (await world.own.rpc.latest_blockhash()).blockhash != before

    await world.until(is_another)


async def finalized_and_taken_by_a_fork(world: World) -> str:
    market_id = await due_market(world)
    slot = await open_slot(world)
    (action,) = await monitor(world)
    assert action.ok
    before = (await world.own.rpc.chain_time()).slot
    await roll_back(world, slot)

    async def is_as_late() -> bool:
        return (await world.own.rpc.chain_time()).slot > before

    await world.until(is_as_late)
    return market_id


async def the_index_forgets(world: World, market_id: str) -> None:
    """Have the index see what the fork took, as the reconciler would."""
    rows = await world.fetch(
        "select slot, tx_signature from market_events"
        " where market_id = $1 and event_type = 'MarketFinalized'",
        market_id,
    )
    await world.own.fetcher.indexer.roll_back([TransactionInSlot(*row) for row in rows])


async def test_what_a_fork_takes_is_sent_again_as_it_was(world: World) -> None:
    market_id = await finalized_and_taken_by_a_fork(world)
    await the_index_forgets(world, market_id)
    assert await world.states(market_id) == (RESOLVING, RESOLVING)
    (first,) = await sent(world, market_id)

    (action,) = await monitor(world)

    assert (action.ok, action.signature) == (True, str(first.signatures[0]))
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_what_a_fork_took_for_good_is_proven_to_have_expired_before_another_is_signed(
    world: World,
) -> None:
    market_id = await finalized_and_taken_by_a_fork(world)
    await the_index_forgets(world, market_id)
    await world.cheat("zmartd_advanceSlots", {"slots": EXPIRY_SLOTS})

    (expired,) = await monitor(world)
    assert not expired.ok
    assert await world.outbox(market_id) == [("finalize_market", "expired")]
    (action,) = await monitor(world)

    assert action.ok
    assert await world.outbox(market_id) == [("finalize_market", "expired"), ("finalize_market", "landed")]
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_something_else_is_not_signed_while_an_earlier_transaction_may_still_land(world: World) -> None:
    market_id = await due_market(world)
    await world.misbehave(loseNext=1_000)
    waiting = asyncio.create_task(monitor(world))
    await world.until(lambda: world.outbox(market_id))
    authority = Authority(world.own.context())
    market = await authority.market(market_id)
    other = world.program.finalize_market(
        backend_authority=AUTHORITY.pubkey(), market=market.address, dispute_agree=1, dispute_disagree=0
    )

    async with world.daemon() as daemon:
        another = Authority(daemon.context())
        try:
            await another.send(market, "finalize_market", [other])
        except OtherUnderWay:
            pass
        else:
            raise AssertionError("it was signed")

    assert await world.outbox(market_id) == [("finalize_market", "pending")]
    await world.misbehave()
    (action,) = await waiting
    assert action.ok


async def test_a_round_is_another_once_what_was_meant_has_landed(world: World) -> None:
    market_id = await world.resolving()
    resolving = round_of(await world.account(market_id))
    await world.travel(60)
    await world.dispute(market_id)
    disputed = round_of(await world.account(market_id))
    aggregate = world.program.aggregate_dispute_votes(
        backend_authority=AUTHORITY.pubkey(),
        market=world.address(market_id),
        final_agrees=1,
        final_disagrees=0,
    )
    await world.act(AUTHORITY, aggregate)
    await other_blockhash(world)
    again = await world.account(market_id)
    assert again.state is RESOLVING
    second = round_of(again)
    await world.travel(60)
    await world.dispute(market_id)
    second_dispute = round_of(await world.account(market_id))
    assert len({resolving, disputed, second, second_dispute}) == 4

    proposal = await popular_proposal(world)
    before = round_of(await world.account(proposal))
    record = world.program.aggregate_proposal_votes(
        backend_authority=AUTHORITY.pubkey(), market=world.address(proposal), final_likes=3, final_dislikes=1
    )
    await world.act(AUTHORITY, record)
    assert round_of(await world.account(proposal)) != before


async def test_the_second_dispute_of_a_resolution_is_opened_though_the_first_was(world: World) -> None:
    market_id = await world.resolving(10**9)
    authority = Authority(world.own.context())

    async def opened() -> str:
        market = await authority.market(market_id)
        initiate = world.program.initiate_dispute(initiator=authority.address, market=market.address)
        return await authority.send(market, "initiate_dispute", [initiate])

    await world.travel(60)
    first = await opened()
    aggregate = world.program.aggregate_dispute_votes(
        backend_authority=AUTHORITY.pubkey(),
        market=world.address(market_id),
        final_agrees=1,
        final_disagrees=0,
    )
    await world.act(AUTHORITY, aggregate)
    await world.travel(60)
    await other_blockhash(world)
    second = await opened()

    assert first != second
    assert (await world.account(market_id)).state is MarketState.DISPUTED
    assert await world.outbox(market_id) == [("initiate_dispute", "landed")] * 2


async def test_as_many_units_are_asked_for_as_the_simulation_took_and_a_margin(world: World) -> None:
    market_id = await due_market(world)
    (action,) = await monitor(world, compute_margin_percent=50)
    assert action.signature is not None
    ((asked, price),) = await requested(world, market_id)
    landed = await world.own.rpc.transaction(action.signature)
    assert landed is not None
    took = landed["meta"]["computeUnitsConsumed"]
    assert took < asked <= -(-3 * (took + 150) // 2)
    assert price == 0


async def test_the_price_is_what_landed_of_late_for_the_market_and_no_more_than_the_cap(world: World) -> None:
    first, second = await world.resolving(), await world.resolving()
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    touch = [
        transfer(TransferParams(from_pubkey=HOLDERS[0].pubkey(), to_pubkey=world.address(one), lamports=1))
        for one in (first, second)
    ]
    budget = [set_compute_unit_limit(20_000), set_compute_unit_price(PRICED)]
    await world.act(HOLDERS[0], *budget, *touch, indexed=False)

    (one,) = await monitor(world, batch_size=1, priority_fee_percentile=100)
    (other,) = await monitor(world, batch_size=1, priority_fee_percentile=100, max_priority_fee_lamports=7)

    prices = {}
    for action in (one, other):
        assert action.ok
        assert action.market_id is not None
        ((_, prices[action.market_id]),) = await requested(world, action.market_id)
    assert prices[one.market_id or ""] == PRICED
    assert 0 < prices[other.market_id or ""] < PRICED
    (capped,) = await sent(world, other.market_id or "")
    assert 0 < priority_lamports(capped.message) <= 7


async def test_each_transaction_that_has_expired_doubles_the_price_of_the_next(world: World) -> None:
    market_id = await due_market(world)
    for expiries in range(1, 3):
        await world.misbehave(loseNext=1_000)
        run = asyncio.create_task(monitor(world))

        async def is_pending(expected: int = expiries) -> bool:
            found = await world.outbox(market_id)
            return len(found) == expected and found[-1][1] == "pending"

        await world.until(is_pending)
        await world.cheat("zmartd_advanceSlots", {"slots": EXPIRY_SLOTS})
        assert not (await run)[0].ok
        await world.misbehave()
        await world.travel(301)
    (action,) = await monitor(world)

    assert action.ok
    assert [price for _, price in await requested(world, market_id)] == [0, 2_000, 4_000]
    assert await world.outbox(market_id) == [
        ("finalize_market", "expired"),
        ("finalize_market", "expired"),
        ("finalize_market", "landed"),
    ]


async def test_what_would_fail_is_not_signed(world: World) -> None:
    market_id = await popular_proposal(world)
    await world.cheat("surfnet_setAccount", str(AUTHORITY.pubkey()), {"lamports": 0})
    (refused,) = await VoteAggregator(world.own.context()).run()
    assert (refused.ok, refused.signature) == (False, None)
    assert await world.outbox(market_id) == []


async def test_votes_stay_closed_while_a_transaction_with_their_counts_may_land(world: World) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(loseNext=1_000)
    run = asyncio.create_task(VoteAggregator(world.own.context()).run())
    await world.until(lambda: world.outbox(market_id))
    market = await Authority(world.own.context()).market(market_id)

    async with world.database.service() as connection:
        await tallies.reopen(connection, VoteKind.PROPOSAL, market_id, market.slot)

    assert await world.closed_votes(market_id) == [(3, 1)]
    await world.misbehave()
    (approved,) = await run
    assert approved.ok
    assert await world.closed_votes(market_id) == []


async def test_a_market_whose_account_cannot_be_read_is_told_once_and_counted_each_time(world: World) -> None:
    market_id = await world.proposal()
    authority = Authority(world.own.context())
    await world.cheat("surfnet_setAccount", str(world.address(market_id)), {"data": "00" * 8})

    async def is_unreadable() -> bool:
        return await authority.markets([market_id]) == {}

    with capture_logs() as lines:
        await world.until(is_unreadable, patience.SECONDS)
        counted = UNREADABLE.total()
        for _ in range(3):
            assert await is_unreadable()
    told = [line["market_id"] for line in lines if line["event"] == "task.unreadable_market"]
    assert told == [market_id]
    assert UNREADABLE.total() == counted + 3
