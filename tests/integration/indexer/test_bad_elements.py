"""Deliveries with a transaction among good ones that cannot be read, or cannot be applied."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.integration.indexer.test_forged_deliveries import (
    PARSE,
    as_delivered,
    deliver,
    inbox_of,
    logged_otherwise,
)
from tests.integration.indexer.test_parking import (
    UNSUPPORTED,
    behind_a_node,
    due_now,
    nothing_is_wrong,
    parked_ones,
    three_trades,
    trades_of,
)
from tests.integration.indexer.test_reconcile import assert_true_to_the_chain, settled
from tests.integration.indexer.test_repair import alter
from tests.integration.tasks.world import World
from zmartd.clock import SystemClock
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.parking import park
from zmartd.indexer.verification import Verification
from zmartd.store import inbox as deliveries
from zmartd.store.parked import Unapplied

BAD: dict[str, dict[str, Any]] = {
    "no meta": {"meta": None},
    "nonsense in it": {"meta": {"err": None, "logMessages": 5}},
    "a version that nobody knows": {"version": 2},
}


@pytest.mark.parametrize("bad", BAD)
async def test_the_good_ones_are_applied_and_the_bad_one_is_asked_for(
    world: World, database_url: str, bad: str
) -> None:
    trades = await three_trades(world)
    first, second, third = [await as_delivered(world, trade) for trade in trades]
    await deliver(inbox_of(world), first, second | BAD[bad], third)
    assert await trades_of(world) == {trades[0], trades[2]}
    ((signature, doubt),) = await world.fetch("select tx_signature, doubt from unverified_transactions")
    assert (signature, doubt.startswith("it cannot be read: ")) == (trades[1], True)
    assert await world.fetch("select status from webhook_inbox") == [("done",)]
    await Verification(world.own.rpc, world.own.fetcher, world.database).run()
    assert await trades_of(world) == set(trades)
    assert await world.fetch("select tx_signature from unverified_transactions") == []
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"slot": 5},
        {"slot": -1, "transaction": {"signatures": ["3" * 88]}},
        {"slot": 5, "transaction": {"signatures": ["not a signature"]}},
        {"slot": 5, "transaction": {"signatures": ["2" * 64]}},
    ],
)
async def test_what_does_not_even_say_which_it_is_parks_its_delivery_with_the_reason(
    world: World, garbage: dict[str, Any]
) -> None:
    trades = await three_trades(world)
    first, second, third = [await as_delivered(world, trade) for trade in trades]
    await deliver(inbox_of(world), first, garbage, second, garbage, third)
    assert await trades_of(world) == set(trades)
    ((status, error),) = await world.fetch("select status, error from webhook_inbox")
    assert status == "parked"
    assert error.startswith("transaction 2 of 5: ")
    assert error.endswith("(1 more like it)")
    assert await world.fetch("select tx_signature from unverified_transactions") == []


async def test_what_is_delivered_of_a_parked_transaction_is_not_believed(world: World) -> None:
    trades = await three_trades(world)
    told = [await as_delivered(world, trade) for trade in trades]
    await park(world.database, [Unapplied(trades[1], told[1]["slot"], "refused", "no")])
    await deliver(inbox_of(world), *told)
    assert await trades_of(world) == {trades[0], trades[2]}
    asked = await world.fetch("select tx_signature, doubt from unverified_transactions")
    assert asked == [(trades[1], "it is parked")]
    await Verification(world.own.rpc, world.own.fetcher, world.database).run()
    assert await trades_of(world) == set(trades)


async def test_what_was_delivered_before_a_transaction_was_parked_is_compared_or_goes(
    world: World, database_url: str
) -> None:
    trades = await three_trades(world)
    told = [await as_delivered(world, trade) for trade in trades]
    await deliver(inbox_of(world), *(logged_otherwise(one, shares=5) for one in told[:2]), told[2])
    shares = "select count(*) from trades where tx_signature = $1 and shares = 5"
    async with behind_a_node(world) as one:
        for trade in trades[:2]:
            one.node.always(trade, UNSUPPORTED)
        await one.reconciler.run()
        assert {row[:2] for row in await parked_ones(world)} == {(trade, "refused") for trade in trades[:2]}
        assert await trades_of(world) == set(trades), "a node may refuse once what it gives a minute later"
        assert await world.fetch("select commitment from markets") == [("confirmed",)]
        # The first is compared as soon as the node gives it. Of the second nobody knows more than was said.
        one.node.behave()
        one.node.always(trades[1], UNSUPPORTED)
        await due_now(world)
        await one.reconciler.run()
        assert await trades_of(world) == {trades[0], trades[2]}
        assert await world.fetch(shares, trades[0]) == [(0,)]
        assert await parked_ones(world) == [(trades[1], "refused", 1)]
        await nothing_is_wrong(one, trades, database_url)
    assert await world.fetch("select distinct commitment from trades") == [("finalized",)]


class LaterEachTime(SystemClock):
    """A clock on which every pause is over."""

    def __init__(self) -> None:
        self._hours = 0

    def time(self) -> float:
        self._hours += 1
        return super().time() + timedelta(hours=self._hours).total_seconds()


async def test_one_that_cannot_be_applied_does_not_hold_up_the_others_of_its_delivery(world: World) -> None:
    trades = await three_trades(world, indexed=True)
    delivered = [await as_delivered(world, trade) for trade in trades]
    for trade in trades:
        await alter(world, f"delete from trade_events where tx_signature = '{trade}'")
    await alter(world, f"delete from trades where tx_signature <> '{trades[1]}'")
    fetcher = world.own.fetcher
    inbox = Inbox(world.database, fetcher.indexer, PARSE, LaterEachTime(), fetcher.plausibility)
    await inbox.accept(msgspec.json.encode(delivered))
    for attempt in range(1, 6):
        assert await inbox.apply_batch() == 1
        assert await trades_of(world) == set(trades)
        ((attempts, error),) = await world.fetch("select attempts, error from webhook_inbox")
        assert attempts == attempt
        assert error.startswith(f"{trades[1]}: IndexAltered: ")
    assert await inbox.apply_batch() == 0
    assert await world.fetch("select status from webhook_inbox") == [("parked",)]
    read = await world.fetch("select tx_signature from trade_events where event_type = 'SharesBought'")
    assert {row[0] for row in read} == {trades[0], trades[2]}


async def test_garbage_fills_nothing_and_takes_no_place_of_what_failed_to_apply(world: World) -> None:
    inbox = inbox_of(world)
    async with world.database.service() as connection:
        await deliveries.add(connection, [deliveries.NewDelivery(b"[]", 1)])
        ((failed,),) = [tuple(row) for row in await connection.fetch("select id from webhook_inbox")]
        await deliveries.park(connection, {failed: "it cannot be applied"})
    for _ in range(3):
        for _ in range(deliveries.MOST_PARKED // 2):
            await inbox.accept(b'{"no": "transaction"}')
        while await inbox.apply_batch():
            pass
    kept = await world.fetch("select unreadable, count(*) from webhook_inbox group by 1 order by 1")
    assert kept == [(False, 1), (True, deliveries.MOST_PARKED)]
