from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from tests.integration.chain.chain_nodes import node_before
from tests.integration.indexer.test_reconcile import assert_true_to_the_chain, purchase
from tests.integration.indexer.test_rollback import facts
from tests.integration.tasks.world import AUTHORITY, CREATOR, HOLDERS, PROGRAM_ID, RESOLVER, World
from zmartd.chain.codec import Codec
from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, Quarantined
from zmartd.clock import SystemClock
from zmartd.indexer.quarantine import QuarantineReport, retry_quarantined

CODEC = Codec(default_idl())


async def a_whole_life(world: World) -> None:
    """A market that nobody indexes, from its creation through a dispute to a claim."""
    market_id = await world.proposal(indexed=False)
    market = world.address(market_id)
    program = world.program
    await world.approve(market_id, indexed=False)
    await world.act(
        CREATOR, program.activate_market(authority=CREATOR.pubkey(), market=market), indexed=False
    )
    for holder in HOLDERS[:3]:
        await world.act(holder, purchase(world, market_id, holder), indexed=False)
    await world.travel(60)
    resolve = program.resolve_market(
        resolver=RESOLVER.pubkey(), market=market, proposed_outcome=True, ipfs_evidence_hash="Qm" + "e" * 44
    )
    await world.act(RESOLVER, resolve, indexed=False)
    await world.travel(60)
    await world.dispute(market_id, indexed=False)
    await world.travel(4 * 86_400)
    finalize = program.finalize_market(
        backend_authority=AUTHORITY.pubkey(), market=market, dispute_agree=1, dispute_disagree=9
    )
    await world.act(AUTHORITY, finalize, indexed=False)
    claim = program.claim_winnings(user=HOLDERS[0].pubkey(), market=market, resolver=RESOLVER.pubkey())
    await world.act(HOLDERS[0], claim, indexed=False)


def as_an_older_version_read_it(transaction: ChainTransaction) -> ChainTransaction:
    """The transaction as read with an IDL that lacks its events and its instructions."""
    lines = [
        Quarantined(one.ordinal, CODEC.encode_event(one.event), "no event has this discriminator")
        for one in transaction.events
    ]
    return msgspec.structs.replace(
        transaction,
        events=(),
        quarantined=tuple(lines),
        creations=(),
        dispute_counts=(),
        resolver_payments=(),
    )


async def indexed_by_an_older_version(
    world: World, unknown: Callable[[ChainTransaction], bool]
) -> list[ChainTransaction]:
    """Index the whole chain with an older IDL. Returns the transactions with quarantined lines."""
    history = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    fetched = await world.own.fetcher.fetch([one.signature for one in reversed(history) if one.err is None])
    strange = [tx for tx in fetched.transactions if unknown(tx)]
    for transaction in fetched.transactions:
        read = as_an_older_version_read_it(transaction) if transaction in strange else transaction
        await world.own.fetcher.indexer.apply([read])
    return strange


async def retried(world: World) -> QuarantineReport:
    return await retry_quarantined(world.database, world.own.fetcher, CODEC)


def kind_of(name: str) -> Callable[[ChainTransaction], bool]:
    return lambda transaction: any(type(one.event).__name__ == name for one in transaction.events)


@pytest.mark.parametrize(
    "name", ["MarketCreated", "MarketFinalized", "WinningsClaimed", "SharesBought", "ProposalApproved"]
)
async def test_an_event_that_became_known_counts_as_if_it_had_always_been(
    world: World, database_url: str, name: str
) -> None:
    await a_whole_life(world)
    strange = await indexed_by_an_older_version(world, kind_of(name))
    lines = sum(len(tx.events) for tx in strange)
    assert lines
    assert await retried(world) == QuarantineReport(lines, 0)
    await assert_true_to_the_chain(world, database_url)
    assert await world.fetch("select id from quarantined_events where resolved_at is null") == []
    assert await retried(world) == QuarantineReport(0, 0)


async def test_a_history_of_which_nothing_was_known_is_read_in_any_order(
    world: World, database_url: str
) -> None:
    await a_whole_life(world)
    await a_whole_life(world)
    coin = random.Random(4)
    strange = await indexed_by_an_older_version(world, lambda _: coin.random() < 0.7)
    assert (await retried(world)).applied == sum(len(tx.events) for tx in strange) > 8
    await assert_true_to_the_chain(world, database_url)


async def test_a_line_that_still_cannot_be_read_stays(world: World) -> None:
    await world.proposal(indexed=False)
    (newest, *_) = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    fetched = await world.own.fetcher.fetch([newest.signature])
    unreadable = Quarantined(7, b"\x01" * 30, "no event has this discriminator")
    (transaction,) = map(as_an_older_version_read_it, fetched.transactions)
    lines = (*transaction.quarantined, unreadable)
    await world.own.fetcher.indexer.apply([msgspec.structs.replace(transaction, quarantined=lines)])
    # The chain does not have that line, so what it says about the transaction settles it.
    assert await retried(world) == QuarantineReport(2, 0)
    alone = msgspec.structs.replace(transaction, signature="3" * 88, quarantined=(unreadable,))
    await world.own.fetcher.indexer.apply([alone])
    before = await facts(world.database)
    assert await retried(world) == QuarantineReport(0, 1)
    assert await facts(world.database) == before
    assert await world.fetch("select event_index from quarantined_events where resolved_at is null") == [(7,)]


async def test_a_creation_waits_for_a_node_that_gives_its_arguments(world: World, database_url: str) -> None:
    await world.proposal(indexed=False)
    (strange,) = await indexed_by_an_older_version(world, kind_of("MarketCreated"))
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        node.instead("getTransaction", None)
        fetcher = world.fetcher(rpc)
        assert await retry_quarantined(world.database, fetcher, CODEC) == QuarantineReport(
            0, 1, (strange.signature,)
        )
        assert await world.fetch("select id from markets") == []
        assert await retry_quarantined(world.database, fetcher, CODEC) == QuarantineReport(1, 0)
    await assert_true_to_the_chain(world, database_url)
