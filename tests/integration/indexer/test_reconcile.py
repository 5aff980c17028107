from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from tests.integration.chain.chain_nodes import Node, node_before
from tests.integration.indexer.second_database import second_database
from tests.integration.tasks.world import CREATOR, HOLDERS, PROGRAM_ID, TREASURY, World
from zmartd.chain.assemble import sign
from zmartd.chain.codec import Codec
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import parse_transaction
from zmartd.clock import SystemClock
from zmartd.indexer.audit.audit import audit
from zmartd.indexer.reconcile.reconciler import IndexReconciler, ReconcileReport
from zmartd.indexer.replay.replay import replay_into
from zmartd.indexer.walks.checkpointed import CheckpointedWalk
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint


async def reconciled(world: World) -> ReconcileReport:
    return await IndexReconciler(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID).run()


async def finalized(world: World) -> None:
    """Finalize everything that is on the chain."""
    await world.cheat("zmartd_holdFinality", {"hold": False})
    await world.cheat("zmartd_advanceSlots", {"slots": 33})


def purchase(world: World, market_id: str, holder: Keypair, *, target_cost: int = 10**8) -> Instruction:
    return world.program.buy_shares(
        user=holder.pubkey(),
        market=world.address(market_id),
        protocol_fee_wallet=TREASURY.pubkey(),
        outcome=True,
        target_cost=target_cost,
    )


async def active(world: World) -> str:
    market_id = await world.proposal()
    await world.approve(market_id)
    activate = world.program.activate_market(authority=CREATOR.pubkey(), market=world.address(market_id))
    await world.act(CREATOR, activate)
    return market_id


async def open_slot(world: World) -> int:
    """The slot from which `roll_back` removes what follows. Nothing of that becomes final before `finalized`,
    however slow the machine is.
    """
    await world.cheat("zmartd_holdFinality", {"hold": True})
    return int(await world.cheat("getSlot", {"commitment": "processed"}))


async def roll_back(world: World, first_slot: int) -> set[str]:
    """Remove the blocks from that slot on. Returns the signatures of their transactions."""
    return set(await world.cheat("zmartd_rollback", {"fromSlot": first_slot}))


async def settled(world: World) -> ReconcileReport:
    await finalized(world)
    return await reconciled(world)


async def assert_true_to_the_chain(world: World, database_url: str) -> None:
    report = await audit(world.database, world.own.rpc, PROGRAM_ID, patience_seconds=0.0)
    assert (report.differences, report.moving) == ((), ())
    parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
    fresh = await replay_into(
        second_database(database_url), world.database, rpc=world.own.rpc, program_id=PROGRAM_ID, parse=parse
    )
    assert [one.table for one in fresh.tables if not one.ok] == []


async def commitments(world: World) -> set[tuple[str, str]]:
    tables = ("markets", "trades", "market_events", "trade_events", "admin_events", "protocol_config_history")
    return {
        (table, commitment)
        for table in tables
        for (commitment,) in await world.fetch(f"select commitment from {table}")
    }


async def test_rows_become_final_with_their_transactions(world: World) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    assert {commitment for _, commitment in await commitments(world)} == {"confirmed"}
    promoted = (await settled(world)).promoted
    assert {commitment for _, commitment in await commitments(world)} == {"finalized"}
    assert promoted == 5
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    assert await world.fetch("select commitment from markets") == [("confirmed",)]
    assert (await reconciled(world)).promoted == 0
    assert (await settled(world)).promoted == 1
    assert {commitment for _, commitment in await commitments(world)} == {"finalized"}


async def test_what_was_missed_is_final_at_once_where_the_chain_is(world: World) -> None:
    market_id = await world.proposal(indexed=False)
    await world.approve(market_id, indexed=False)
    await finalized(world)
    found = await reconciled(world)
    assert (found.missing, found.new_events, found.rolled_back) == (2, 3, 0)
    assert await world.fetch("select distinct commitment from market_events") == [("finalized",)]


async def test_transactions_of_a_lost_fork_are_rolled_back(world: World, database_url: str) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    await finalized(world)
    fork = await open_slot(world)
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0], target_cost=3 * 10**8))
    lost = await roll_back(world, fork)
    assert len(lost) == 2
    await world.act(HOLDERS[2], purchase(world, market_id, HOLDERS[2]))
    assert (await reconciled(world)).rolled_back == 0, "its slot is not final yet"
    found = await settled(world)
    assert (found.rolled_back, found.missing) == (2, 0)
    assert {row[0] for row in await world.fetch("select tx_signature from orphaned_events")} == lost
    await assert_true_to_the_chain(world, database_url)


async def test_what_a_lost_fork_created_is_hidden_until_it_is_created_again(
    world: World, database_url: str
) -> None:
    await finalized(world)
    fork = await open_slot(world)
    await active(world)
    assert len(await roll_back(world, fork)) == 3
    assert (await settled(world)).rolled_back == 3
    await assert_true_to_the_chain(world, database_url)
    assert await world.fetch("select orphaned, state from markets") == [(True, "PROPOSED")]


async def test_a_transaction_that_landed_again_elsewhere_is_indexed_as_it_is_there(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    await finalized(world)
    rpc, fork = world.own.rpc, await open_slot(world)
    latest = await rpc.latest_blockhash()
    wire = sign(
        [purchase(world, market_id, HOLDERS[0])],
        HOLDERS[0],
        latest.blockhash,
        latest.last_valid_block_height,
        "test",
    )
    await world.own.sender.send(wire)
    first = await world.own.fetcher.apply_signature(wire.signature)
    assert await roll_back(world, fork) == {wire.signature}
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    await rpc.broadcast(wire.wire)

    async def landed() -> bool:
        return await rpc.transaction(wire.signature) is not None

    await world.until(landed)
    found = await reconciled(world)
    assert (found.rolled_back, found.missing) == (1, 0)
    ((slot,),) = await world.fetch("select slot from trades where tx_signature = $1", wire.signature)
    assert slot > first.slot
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


@asynccontextmanager
async def reconciler_before_a_node(world: World) -> AsyncIterator[tuple[IndexReconciler, Node]]:
    async with (
        node_before(world.rpc_url) as node,
        Rpc(node.address, clock=SystemClock()) as rpc,
    ):
        yield IndexReconciler(rpc, world.own.fetcher, world.database, PROGRAM_ID), node


async def test_a_node_that_keeps_no_old_transactions_proves_nothing(world: World) -> None:
    market_id = await active(world)
    await finalized(world)
    fork = await open_slot(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    await roll_back(world, fork)
    await finalized(world)
    async with reconciler_before_a_node(world) as (reconciler, node):
        node.instead("getFirstAvailableBlock", 10_000)
        assert (await reconciler.run()).rolled_back == 0
        assert (await reconciler.run()).rolled_back == 1


async def test_a_node_that_is_behind_proves_nothing(world: World) -> None:
    market_id = await active(world)
    await settled(world)
    fork = await open_slot(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    await roll_back(world, fork)
    await finalized(world)
    async with reconciler_before_a_node(world) as (reconciler, node):
        node.instead("getSignatureStatuses", {"context": {"slot": 1}, "value": [None]})
        assert (await reconciler.run()).rolled_back == 0
        assert (await reconciler.run()).rolled_back == 1


async def test_the_cursor_waits_for_a_transaction_that_the_node_does_not_give(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    stood = (await settled(world)).slot
    for holder in HOLDERS[:3]:
        await world.act(holder, purchase(world, market_id, holder), indexed=False)
    await finalized(world)
    async with (
        node_before(world.rpc_url) as node,
        Rpc(node.address, clock=SystemClock()) as rpc,
    ):
        fetcher = world.fetcher(rpc)
        reconciler = IndexReconciler(rpc, fetcher, world.database, PROGRAM_ID)
        node.instead("getTransaction", None)
        first = await reconciler.run()
        assert (first.missing, first.slot) == (2, stood)
        second = await reconciler.run()
        assert second.missing == 1
        assert second.slot != stood
    await assert_true_to_the_chain(world, database_url)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_forks_do_the_index_becomes_what_the_chain_is(
    world: World, database_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    markets = [await active(world), await active(world)]
    await finalized(world)
    for _ in range(6):
        for _ in range(rng.randint(1, 4)):
            holder, market_id = rng.choice(HOLDERS), rng.choice(markets)
            buy = purchase(world, market_id, holder, target_cost=rng.randint(10**7, 10**9))
            await world.act(holder, buy, indexed=rng.random() < 0.6)
        if rng.random() < 0.5:
            await world.proposal(indexed=rng.random() < 0.5)
        if rng.random() < 0.6:
            await world.cheat("zmartd_rollback", {"slots": rng.randint(0, 12)})
        if rng.random() < 0.5:
            await reconciled(world)
        if rng.random() < 0.3:
            await finalized(world)
    await settled(world)
    assert (await settled(world)).rolled_back == 0
    await assert_true_to_the_chain(world, database_url)


async def test_daemons_that_reconcile_at_once_do_no_harm(world: World, database_url: str) -> None:
    market_id = await active(world)
    await finalized(world)
    for holder in HOLDERS:
        await world.act(holder, purchase(world, market_id, holder), indexed=holder is HOLDERS[0])
    await world.cheat("zmartd_rollback", {"slots": 3})
    await finalized(world)
    async with world.daemon() as other:
        rivals = [
            IndexReconciler(daemon.rpc, daemon.fetcher, world.database, PROGRAM_ID)
            for daemon in (world.own, other, world.own)
        ]
        await asyncio.gather(*(rival.run() for rival in rivals))
    await assert_true_to_the_chain(world, database_url)


async def test_a_node_that_refuses_every_third_request_is_asked_again(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    for holder in HOLDERS:
        await world.act(holder, purchase(world, market_id, holder), indexed=False)
    await finalized(world)
    await world.misbehave(failRate=0.3, status=429)
    assert (await reconciled(world)).missing == len(HOLDERS)
    await world.misbehave()
    await assert_true_to_the_chain(world, database_url)


def walk_of(world: World, page_size: int) -> CheckpointedWalk:
    return CheckpointedWalk(world.own.rpc, world.database, PROGRAM_ID, page_size)


async def move_cursor(world: World, signature: str, slot: int) -> None:
    async with world.database.service() as connection:
        await checkpoints.advance(connection, str(PROGRAM_ID), Checkpoint(signature, slot))


@pytest.mark.parametrize("page_size", [2, 3, 5, 11, 12, 13, 1_000])
async def test_a_walk_is_oldest_first_and_complete_whatever_the_size_of_a_page(
    world: World, page_size: int
) -> None:
    for _ in range(11):
        await world.proposal(indexed=False)
    await finalized(world)
    whole = [info.signature for info in reversed(await world.own.rpc.signatures_for_address(PROGRAM_ID))]
    walked: list[str] = []
    async for page in walk_of(world, page_size).pages():
        assert len(page) < page_size
        walked += [info.signature for info in page]
        await move_cursor(world, page[-1].signature, page[-1].slot)
    assert walked == whole
    assert len(whole) == 12
    assert await world.fetch("select * from history_bookmarks") == []


async def test_a_walk_that_was_interrupted_goes_on_where_it_was(world: World) -> None:
    for _ in range(11):
        await world.proposal(indexed=False)
    await finalized(world)
    whole = [info.signature for info in reversed(await world.own.rpc.signatures_for_address(PROGRAM_ID))]
    walked: list[str] = []
    async with aclosing(walk_of(world, 3).pages()) as pages:
        page = await anext(pages)
        walked += [info.signature for info in page]
        await move_cursor(world, page[-1].signature, page[-1].slot)
    marks = await world.fetch("select slot from history_bookmarks order by slot")
    assert len(marks) > 3
    await world.proposal(indexed=False)
    async with aclosing(walk_of(world, 3).pages()) as pages:
        page = await anext(pages)
        walked += [info.signature for info in page]
    assert walked == whole[: len(walked)]
    left = await world.fetch("select slot from history_bookmarks order by slot")
    assert left == marks[1:], "the new walk did not go down again"
