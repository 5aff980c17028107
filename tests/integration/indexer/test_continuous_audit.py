from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import Node, node_before, unauthorized
from tests.integration.indexer.test_audit import active, alter, buy, cut_short
from tests.integration.tasks.world import HOLDERS, PROGRAM_ID, TREASURY, World
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcUnavailable
from zmartd.clock import SystemClock
from zmartd.indexer.audit.comparison import UNREADABLE
from zmartd.indexer.audit.continuous import (
    LOOK_AGAIN_SECONDS,
    MOST_UNANSWERED,
    AuditLimits,
    ContinuousAudit,
    PassReport,
)
from zmartd.indexer.audit.groups import addresses_with, prefix_length
from zmartd.indexer.repair.repair import Repairer
from zmartd.store import market_audits
from zmartd.store.market_audits import Audited, DifferingMarket
from zmartd.store.postgres.database import Database

LIMITS = AuditLimits(accounts_per_second=100_000, pass_seconds=600, everything_seconds=3_600)


@pytest.fixture
async def node(world: World) -> AsyncIterator[Node]:
    """A node that answers as the chain's does, except where a test wants something else."""
    async with node_before(world.rpc_url) as node:
        yield node


async def through(node: Node, world: World) -> PassReport:
    """A pass that asks this node."""
    async with Rpc(node.address, clock=SystemClock()) as rpc:
        return await one_pass(world, rpc)


async def one_pass(world: World, rpc: Rpc | None = None, **limits: Any) -> PassReport:
    return await ContinuousAudit(
        world.database,
        rpc or world.own.rpc,
        PROGRAM_ID,
        replace(LIMITS, **limits),
        SystemClock(),
        look_again_seconds=0.0,
    ).run()


async def differing(world: World) -> list[DifferingMarket]:
    async with world.database.service_reader() as connection:
        return await market_audits.differing(connection, 100)


async def make_due(world: World, *, configuration: bool = True) -> None:
    """As if each market had last been compared more than half an hour ago, and the configuration as well."""
    await alter(
        world,
        "update market_audits set audited_at = audited_at - interval '31 minutes' where $2 or address <> $1",
        str(world.program.pdas.global_config()),
        configuration,
    )


async def test_the_first_pass_compares_everything_and_the_next_only_what_changed(world: World) -> None:
    market_id, other = await active(world), await world.proposal()
    await buy(world, market_id, HOLDERS[0])
    await world.vote_on_proposal(other, yes=1)

    first = await one_pass(world)
    assert (first.compared, first.found) == (2, ())
    # Two markets and a position; the vote is only the API's. Of the whole index also the configuration.
    assert (first.accounts, first.total.accounts) == (3, 4)
    assert (first.total.markets, first.total.differences, first.total.failed_markets) == (2, 0, 0)
    assert first.total.oldest_at is not None

    assert (await one_pass(world)).compared == 0
    await buy(world, market_id, HOLDERS[1])
    again = await one_pass(world)
    assert (again.compared, again.accounts, again.found) == (1, 3, ())


async def test_what_was_altered_is_found_named_and_gone_once_it_is_repaired(world: World) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0])
    await one_pass(world)
    # Nothing shows that the market has changed; it is compared because its time has come.
    await alter(world, "update markets set shares_yes = shares_yes + 1 where id = $1", market_id)
    await alter(
        world, "update user_positions set shares_yes = shares_yes + 1 where market_id = $1", market_id
    )
    assert (await one_pass(world)).found == ()
    await make_due(world)

    (found,) = (await one_pass(world)).found
    assert (found.address, found.differences) == (str(world.address(market_id)), 2)
    assert found.differing == ("shares_yes", "position.shares_yes")
    (row,) = await differing(world)
    assert (row.market_id, row.differences, row.differing) == (market_id, 2, list(found.differing))

    still = await one_pass(world)
    assert (still.compared, still.total.differences, still.total.differing_markets) == (1, 2, 1)
    assert (await differing(world))[0].differs_since == row.differs_since

    await Repairer(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID).repair()
    healed = await one_pass(world)
    assert (healed.compared, healed.found, healed.total.differences) == (1, (), 0)
    assert await differing(world) == []


class Paused(SystemClock):
    """Stands still wherever somebody sleeps, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = asyncio.Event()
        self.go_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.paused.set()
        await self.go_on.wait()


async def test_a_trade_that_was_lost_is_a_difference(world: World) -> None:
    market_id = await active(world)
    await one_pass(world)
    await buy(world, market_id, HOLDERS[0], indexed=False)
    await make_due(world)
    (found,) = (await one_pass(world)).found
    assert "trades" in found.differing
    assert "position.exists" in found.differing


async def pay(world: World, market: Pubkey) -> None:
    """What anybody can do to a market without the program."""
    payment = TransferParams(from_pubkey=HOLDERS[5].pubkey(), to_pubkey=market, lamports=10**6)
    await world.act(HOLDERS[5], transfer(payment), indexed=False)


@pytest.mark.parametrize("paid", [False, True])
async def test_a_trade_during_the_pass_proves_nothing(world: World, *, paid: bool) -> None:
    markets = {str(world.address(one)): one for one in (await active(world), await active(world))}
    if paid:
        await pay(world, world.address(markets[max(markets)]))
    await one_pass(world)
    await make_due(world)
    clock = Paused()
    audit = ContinuousAudit(world.database, world.own.rpc, PROGRAM_ID, LIMITS, clock, look_again_seconds=0.0)
    under_way = asyncio.create_task(audit.run())
    await clock.paused.wait()  # the first market is compared
    second = max(markets)
    await buy(world, markets[second], HOLDERS[0], indexed=False)
    clock.go_on.set()
    report = await under_way
    assert (report.compared, report.found, report.total.moving_markets) == (2, (), 1)

    # The next pass begins after that trade, which nobody has delivered since.
    lost = await one_pass(world)
    assert [one.address for one in lost.found] == [second]
    assert lost.total.moving_markets == 0


async def test_what_differed_stays_so_while_nothing_can_be_proven(world: World) -> None:
    market_id = await active(world)
    await alter(world, "update markets set total_volume = 7 where id = $1", market_id)
    await one_pass(world)
    (before,) = await differing(world)
    async with world.database.service_reader() as connection:
        for unproven in ({"moving": True}, {"failure": "the node refuses it"}):
            await market_audits.record(
                connection, Audited(address=before.address, version=None, slot=1, **unproven)
            )
            assert await market_audits.differing(connection, 9) == [before]
        total = await market_audits.finish(connection, str(PROGRAM_ID), 2)
    assert (total.differences, total.failed_markets, total.moving_markets) == (1, 1, 1)


def of_slot(slot: int) -> Callable[[Any], Any]:
    """What a node answers that says it is at this slot."""
    return lambda result: result | {"context": {"slot": slot}}


async def test_a_node_that_is_behind_the_index_shows_no_difference(world: World, node: Node) -> None:
    market_id = await active(world)
    await one_pass(world)
    await alter(
        world,
        "update markets set shares_yes = shares_yes + 1, version = version + 1 where id = $1",
        market_id,
    )
    (slot,) = (await world.fetch("select slot from markets where id = $1", market_id))[0]
    for method in ("getMultipleAccounts", "getProgramAccounts"):
        node.changes[method] = of_slot(slot - 1)
        behind = await through(node, world)
        assert (behind.found, behind.total.moving_markets) == ((), 1), method
        del node.changes[method]
    node.changes["getMultipleAccounts"] = node.changes["getProgramAccounts"] = of_slot(slot)
    (found,) = (await through(node, world)).found
    assert found.differing == ("shares_yes",)


async def test_a_position_that_the_index_knows_from_a_later_slot_is_no_difference(
    world: World, node: Node
) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0])
    (slot,) = (await world.fetch("select max(slot) from trades"))[0]
    await alter(world, "update markets set shares_yes = shares_yes + 1, slot = 0 where id = $1", market_id)
    node.changes["getMultipleAccounts"] = node.changes["getProgramAccounts"] = of_slot(slot - 1)
    assert (await through(node, world)).found == ()


class AlteringBetweenLooks(SystemClock):
    """A clock during whose pause before the second look another field differs than before."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def sleep(self, seconds: float) -> None:
        if seconds == LOOK_AGAIN_SECONDS:
            await alter(
                self._world, "update markets set shares_yes = shares_yes - 1, total_volume = total_volume + 1"
            )


async def test_a_difference_counts_when_a_second_look_confirms_it(world: World) -> None:
    await active(world)
    await alter(world, "update markets set shares_yes = shares_yes + 1")
    audit = ContinuousAudit(world.database, world.own.rpc, PROGRAM_ID, LIMITS, AlteringBetweenLooks(world))
    report = await audit.run()
    assert (report.found, report.total.moving_markets) == ((), 1)
    (found,) = (await one_pass(world)).found
    assert found.differing == ("total_volume",)


async def test_what_was_listed_before_a_market_was_equal_is_not_looked_at_again(
    world: World, node: Node
) -> None:
    market_id = await active(world)
    await pay(world, world.address(market_id))
    await alter(world, "update markets set shares_yes = shares_yes + 1")
    assert len((await through(node, world)).found) == 1
    assert node.requests["getTransaction"] > 0, "whether the payment has an event"
    await alter(world, "update markets set shares_yes = shares_yes - 1")
    assert (await through(node, world)).found == ()
    before = node.requests["getTransaction"]
    await pay(world, TREASURY.pubkey())  # so that the slot of the payment to the market is over
    assert (await one_pass(world, everything_seconds=1e-6)).compared == 1
    await alter(world, "update markets set shares_yes = shares_yes + 1, version = version + 1")
    assert len((await through(node, world)).found) == 1
    assert node.requests["getTransaction"] == before


async def uncompared(world: World) -> list[tuple[str, str]]:
    async with world.database.service_reader() as connection:
        return [(one.why, one.address) for one in await market_audits.uncompared(connection, 100)]


async def test_since_when_a_market_could_not_be_compared_is_kept_until_it_is(world: World) -> None:
    market_id = await active(world)
    await one_pass(world)
    address = str(world.address(market_id))
    assert await uncompared(world) == []

    async def record(**result: Any) -> list[tuple[str, datetime]]:
        async with world.database.service_reader() as connection:
            await market_audits.record(connection, Audited(address=address, version=1, slot=9, **result))
            return [(one.why, one.since) for one in await market_audits.uncompared(connection, 9)]

    ((why, since),) = await record(failure="the node refuses it")
    assert why == "failing"
    assert await record(failure="it still does") == [("failing", since)]
    ((why, since),) = await record(moving=True)
    assert why == "moving"
    assert await record(moving=True) == [("moving", since)]
    assert await record() == []
    await make_due(world)
    newest = await one_pass(world)
    assert newest.total.oldest_at is not None


async def test_the_oldest_comparison_is_one_that_proved_something(world: World) -> None:
    market_id = await active(world)
    first = await one_pass(world)
    async with world.database.service_reader() as connection:
        await market_audits.record(
            connection,
            Audited(address=str(world.address(market_id)), version=1, slot=9, failure="no answer"),
        )
        later = await market_audits.finish(connection, str(world.program.pdas.global_config()), 9)
    assert later.oldest_at == first.total.oldest_at


async def test_a_market_nobody_indexed_is_found(world: World) -> None:
    market_id = await world.proposal(indexed=False)
    await one_pass(world)
    (row,) = await differing(world)
    assert (row.address, row.market_id, row.differing) == (str(world.address(market_id)), None, ["exists"])


async def test_a_market_that_neither_side_has_is_forgotten(world: World) -> None:
    await active(world)
    await one_pass(world)
    await alter(
        world,
        "insert into market_audits (address, slot, accounts, differences, differing, audited_at)"
        " values ($1, 0, 0, 0, '{}', '-infinity')",
        str(TREASURY.pubkey()),
    )
    report = await one_pass(world)
    assert (report.compared, report.found, report.total.markets) == (1, (), 1)


async def test_an_account_that_cannot_be_read_is_named_and_ends_nothing(world: World) -> None:
    broken, whole = await active(world), await active(world)
    await cut_short(world, world.program.pdas.global_config(), world.address(broken))
    report = await one_pass(world)
    assert {(one.address, one.differing) for one in report.found} == {
        (str(world.program.pdas.global_config()), (UNREADABLE,)),
        (str(world.address(broken)), (UNREADABLE,)),
    }
    assert (report.compared, report.total.differing_markets) == (2, 2)
    assert str(world.address(whole)) not in {one.address for one in await differing(world)}


async def test_a_market_the_node_does_not_answer_for_is_named_and_ends_nothing(
    world: World, node: Node
) -> None:
    for _ in range(3):
        await world.proposal()
    await one_pass(world)
    await make_due(world, configuration=False)
    node.instead("getProgramAccounts", unauthorized, unauthorized)  # for all of them, and for the first alone
    report = await through(node, world)
    (failed,) = report.found
    assert (report.compared, report.total.failed_markets) == (3, 1)
    assert failed.failure is not None
    assert "HTTP 401" in failed.failure
    assert (await through(node, world)).total.failed_markets == 0


async def test_a_node_that_answers_for_no_market_ends_the_pass(world: World, node: Node) -> None:
    for _ in range(MOST_UNANSWERED + 2):
        await world.proposal()
    await one_pass(world)
    await make_due(world, configuration=False)
    before = node.requests["getProgramAccounts"]
    node.instead("getProgramAccounts", *[unauthorized] * 99)
    with pytest.raises(RpcUnavailable):
        await through(node, world)
    assert node.requests["getProgramAccounts"] == before + MOST_UNANSWERED
    node.behave()
    healed = await through(node, world)
    assert (healed.found, healed.total.failed_markets) == ((), 0)


async def test_markets_whose_time_has_come_are_compared_together(world: World, node: Node) -> None:
    traded, altered = await active(world), await active(world)
    voted, *_ = [await world.proposal() for _ in range(3)]
    await buy(world, traded, HOLDERS[0])
    before = node.requests.total()
    first = await through(node, world)
    assert (first.compared, first.accounts, first.found) == (5, 6, ())
    # For the pass its slot, for the configuration its account and the list of markets, for the others three.
    assert node.requests.total() - before == 6
    assert (await one_pass(world)).compared == 0

    await buy(world, traded, HOLDERS[1], indexed=False)
    await alter(world, "update markets set total_volume = 7 where id = $1", altered)
    vote = world.program.submit_proposal_vote(
        user=HOLDERS[2].pubkey(), market=world.address(voted), vote=True
    )
    await world.act(HOLDERS[2], vote, indexed=False)
    await make_due(world)
    second = await through(node, world)
    assert second.compared == 5
    assert {one.address: one.differing[-1] for one in second.found} == {
        str(world.address(traded)): "position.exists",
        str(world.address(altered)): "total_volume",
        str(world.address(voted)): "proposal_votes",
    }


async def test_an_address_is_in_the_group_of_its_first_bytes(database: Database) -> None:
    rng = random.Random(7)
    addresses = [Pubkey.from_bytes(rng.randbytes(32)) for _ in range(300)]
    ends = [bytes([first]) + rest * 31 for first in range(0, 256, 15) for rest in (b"\0", b"\xff")]
    addresses += map(Pubkey.from_bytes, ends)
    async with database.service() as connection:
        await connection.executemany(
            "insert into markets (id, on_chain_address) values ($1, $2)",
            [(bytes(one).hex(), str(one)) for one in addresses],
        )
    async with database.service_reader() as reader:
        for byte in range(256):
            found = await market_audits.members(reader, addresses_with(bytes([byte])))
            assert set(found) == {str(one) for one in addresses if bytes(one)[0] == byte}, byte
        assert len(await market_audits.members(reader, addresses_with(b""))) == len(addresses)


@pytest.mark.parametrize(("markets", "length"), [(0, 0), (1_000, 0), (1_001, 1), (100_000, 1)])
async def test_few_markets_are_one_group_and_more_are_in_256(markets: int, length: int) -> None:
    assert prefix_length(markets) == length


async def test_markets_are_compared_also_where_the_node_does_not_list_them(world: World, node: Node) -> None:
    await world.proposal()
    node.instead("getProgramAccounts", unauthorized)
    report = await through(node, world)
    (failed,) = report.found
    assert (report.compared, failed.address) == (1, str(world.program.pdas.global_config()))
    assert failed.failure is not None
    assert "could not be listed" in failed.failure
    await make_due(world)
    assert (await through(node, world)).found == ()


async def test_a_pass_that_is_out_of_time_is_gone_on_with(world: World) -> None:
    for _ in range(3):
        await world.proposal()
    first = await one_pass(world, pass_seconds=1e-9)
    assert (first.compared, first.total.oldest_at) == (0, None)
    assert (await one_pass(world)).compared == 3


async def test_everything_is_compared_again_within_its_time(world: World) -> None:
    await world.proposal()
    await one_pass(world)
    assert (await one_pass(world, everything_seconds=1e-6)).compared == 1
    async with world.database.service_reader() as connection:
        newest = await market_audits.newest_pass(connection)
        assert newest is not None
        assert newest.oldest_at is not None
        assert await market_audits.now(connection) - newest.oldest_at < timedelta(minutes=10)
