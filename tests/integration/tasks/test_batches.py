"""Several markets in one transaction: each effect once, and nobody's failure is another's."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.integration.tasks.failing_markets import problems, ruin
from tests.integration.tasks.test_approving import popular_proposal
from tests.integration.tasks.world import AUTHORITY, DISPUTE_PERIOD_SECONDS, World, keypair
from zmartd.chain.assemble import MAX_COMPUTE_UNITS, MAX_TRANSACTION_BYTES
from zmartd.faults import Point, watching
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.authority import Authority
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.tasks.meant import Meant, instructions_of, packed
from zmartd.tasks.vote_aggregator import VoteAggregator

APPROVED, FINALIZED, RESOLVING = MarketState.APPROVED, MarketState.FINALIZED, MarketState.RESOLVING


async def due_markets(world: World, count: int) -> list[str]:
    markets = [await world.resolving() for _ in range(count)]
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    return markets


async def by_signature(world: World) -> Counter[tuple[str, str, str]]:
    """For each transaction of tasks its purpose, its fate and how many markets it is for."""
    rows = await world.fetch(
        "select signature, sent.purpose, status from transaction_intents"
        " join outbox_transactions as sent using (signature)"
    )
    return Counter(rows)


async def batches(world: World) -> list[tuple[str, str, int]]:
    return sorted(
        (purpose, status, count) for (_, purpose, status), count in (await by_signature(world)).items()
    )


async def executed(world: World, markets: list[str]) -> dict[str, int]:
    return {market: await world.executed(market) for market in markets}


async def test_markets_that_are_due_together_are_finalized_in_one_transaction(world: World) -> None:
    markets = await due_markets(world, 3)
    actions = await MarketMonitor(world.own.context()).run()

    assert [(one.market_id, one.action, one.ok) for one in actions] == [
        (market, "finalize_market", True) for market in markets
    ]
    assert len({one.signature for one in actions}) == 1
    assert await batches(world) == [("finalize_market", "landed", 3)]
    for market in markets:
        assert await world.states(market) == (FINALIZED, FINALIZED)
    assert await MarketMonitor(world.own.context()).run() == []


async def test_proposals_are_approved_together_and_each_tally_has_the_transaction(world: World) -> None:
    markets = [await popular_proposal(world) for _ in range(3)]
    signatures: list[tuple[str, str]] = []

    async def note(point: Point) -> None:
        if point is Point.AUTHORITY_RECORDED:
            signatures.extend(await world.fetch("select market_id, signature from vote_tallies"))

    with watching(note):
        actions = await VoteAggregator(world.own.context()).run()

    assert [(one.action, one.ok, one.detail) for one in actions] == [
        ("approve_proposal", True, "3 of 4 votes like it")
    ] * 3
    assert await batches(world) == [("approve_proposal", "landed", 3)]
    assert dict(signatures) == {one.market_id: one.signature for one in actions}
    for market in markets:
        assert await world.states(market) == (APPROVED, APPROVED)
        account = await world.account(market)
        assert (account.proposal_likes, account.proposal_dislikes) == (3, 1)
        assert await world.closed_votes(market) == []


async def test_a_market_that_would_fail_is_left_out_and_reported_alone(world: World) -> None:
    markets = await due_markets(world, 4)
    await ruin(world, markets[1])

    actions = await MarketMonitor(world.own.context()).run()

    assert [one.ok for one in actions] == [True, False, True, True]
    assert actions[1].detail.startswith("BoundedLossExceeded: ")
    assert await problems(world) == [(markets[1], "BoundedLossExceeded", 1)]
    assert await batches(world) == [("finalize_market", "landed", 3)]


async def test_what_fails_after_its_simulation_takes_no_other_with_it(world: World) -> None:
    markets = await due_markets(world, 3)

    async def ruin_one(point: Point) -> None:
        if point is Point.AUTHORITY_SIGNED and not await problems(world):
            await ruin(world, markets[2])

    with watching(ruin_one):
        actions = await MarketMonitor(world.own.context()).run()

    assert [one.ok for one in actions] == [True, True, False]
    assert await problems(world) == [(markets[2], "BoundedLossExceeded", 1)]
    assert ("finalize_market", "failed", 3) in await batches(world)
    for market in markets[:2]:
        assert await world.states(market) == (FINALIZED, FINALIZED)


async def test_daemons_whose_batches_overlap_do_each_thing_once(world: World) -> None:
    markets = await due_markets(world, 5)
    before = await executed(world, markets)
    async with world.daemon() as one, world.daemon() as other:
        authorities = [Authority(daemon.context()) for daemon in (world.own, one, other)]
        found = await authorities[0].markets(markets)

        def meant(market_ids: list[str]) -> list[Meant]:
            return [
                Meant(
                    found[market_id],
                    "finalize_market",
                    (
                        world.program.finalize_market(
                            backend_authority=AUTHORITY.pubkey(), market=found[market_id].address
                        ),
                    ),
                )
                for market_id in market_ids
            ]

        wanted = [markets[:3], markets[1:][::-1], [markets[4], markets[0], markets[2]]]
        landed = await asyncio.gather(
            *(
                authority.send_together(meant(part))
                for authority, part in zip(authorities, wanted, strict=True)
            )
        )

    known: dict[str, str] = {}
    for part in landed:
        for market_id, signature in part.items():
            assert known.setdefault(market_id, signature) == signature
    await MarketMonitor(world.own.context()).run()
    after = await executed(world, markets)
    assert {market: after[market] - before[market] for market in markets} == dict.fromkeys(markets, 1)
    for market in markets:
        assert (await world.account(market)).state is FINALIZED


@pytest.mark.parametrize(
    "point",
    [
        Point.AUTHORITY_SIGNED,
        Point.AUTHORITY_CLAIMED,
        Point.AUTHORITY_RECORDED,
        Point.SENDER_RECORDED,
        Point.SENDER_SENT,
        Point.SENDER_ENDED,
        Point.AUTHORITY_LANDED,
        Point.AUTHORITY_INDEXED,
    ],
)
async def test_a_batch_that_is_killed_anywhere_is_neither_lost_nor_done_twice(
    world: World, point: Point
) -> None:
    markets = [await popular_proposal(world) for _ in range(3)]
    before = await executed(world, markets)
    reached = asyncio.Event()

    async def never_goes_on(at: Point) -> None:
        if at is point:
            reached.set()
            await asyncio.Event().wait()

    async with world.daemon() as doomed:
        with watching(never_goes_on):
            run = asyncio.create_task(VoteAggregator(doomed.context()).run())
            async with asyncio.timeout(120):
                await reached.wait()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async with world.daemon() as other:
        await asyncio.gather(VoteAggregator(other.context()).run(), VoteAggregator(world.own.context()).run())
        await VoteAggregator(other.context()).run()

    after = await executed(world, markets)
    assert {market: after[market] - before[market] for market in markets} == dict.fromkeys(markets, 1)
    for market in markets:
        assert await world.states(market) == (APPROVED, APPROVED)
        assert await world.closed_votes(market) == []

    async def all_have_landed() -> bool:
        return {status for _, status, _ in await batches(world)} == {"landed"}

    async with world.daemon() as third:
        adopting = asyncio.create_task(third.sender.adopt())
        await world.until(all_have_landed)
        adopting.cancel()


async def test_what_asks_for_too_many_compute_units_goes_into_several_transactions(world: World) -> None:
    markets = await due_markets(world, 4)
    authority = Authority(world.own.context())
    found = await authority.markets(markets)
    finalize = [
        world.program.finalize_market(backend_authority=AUTHORITY.pubkey(), market=found[one].address)
        for one in markets
    ]
    units = (await authority.budgets.tried(finalize, AUTHORITY.pubkey())).units
    # Two and a half of the four fit.
    margin_percent = 100 * MAX_COMPUTE_UNITS * 4 // (units * 5 // 2) - 100

    actions = await MarketMonitor(world.own.context(compute_margin_percent=margin_percent)).run()

    assert [one.ok for one in actions] == [True] * 4
    assert await batches(world) == [("finalize_market", "landed", 2)] * 2


async def test_what_writes_more_logs_than_nodes_keep_goes_into_several_transactions(world: World) -> None:
    authority = Authority(world.own.context())
    found = (await authority.markets([await world.proposal() for _ in range(16)])).values()
    approvals = [
        Meant(
            market,
            "approve_proposal",
            (
                world.program.aggregate_proposal_votes(
                    backend_authority=AUTHORITY.pubkey(),
                    market=market.address,
                    final_likes=99,
                    final_dislikes=1,
                ),
                world.program.approve_proposal(admin=AUTHORITY.pubkey(), market=market.address),
            ),
        )
        for market in found
    ]
    together, *_ = packed(approvals, AUTHORITY.pubkey(), 64)
    assert (await authority.budgets.tried(instructions_of(together), AUTHORITY.pubkey())).is_truncated

    parts = [part for part, _ in await authority.fitting(together)]

    assert [one for part in parts for one in part] == together
    for part in parts:
        tried = await authority.budgets.tried(instructions_of(part), AUTHORITY.pubkey())
        assert (tried.err, tried.is_truncated) == (None, False)

    await authority.send_together(approvals)
    assert await batches(world) == [("approve_proposal", "landed", 3), ("approve_proposal", "landed", 13)]


async def test_as_many_go_into_one_transaction_as_its_bytes_hold(world: World) -> None:
    market = await Authority(world.own.context()).market(await world.proposal())

    def meant(number: int) -> Meant:
        address = keypair(f"market {number}").pubkey()
        finalize = world.program.finalize_market(backend_authority=AUTHORITY.pubkey(), market=address)
        return Meant(market, "finalize_market", (finalize,))

    packs = packed([meant(number) for number in range(50)], AUTHORITY.pubkey(), 64)

    assert sum(map(len, packs)) == 50
    assert len(packs[0]) == len(packs[1]) > 15
    assert MAX_TRANSACTION_BYTES == 1_232
    fewer = packed([meant(number) for number in range(5)], AUTHORITY.pubkey(), 2)
    assert [len(pack) for pack in fewer] == [2, 2, 1]
