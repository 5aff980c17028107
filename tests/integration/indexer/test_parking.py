"""One transaction that cannot be read or applied: everything goes past it, and it is not forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from tests.integration.chain.chain_nodes import Node, node_before, refused
from tests.integration.indexer.test_reconcile import (
    active,
    assert_true_to_the_chain,
    finalized,
    purchase,
    settled,
)
from tests.integration.indexer.test_repair import alter
from tests.integration.tasks.world import HOLDERS, PROGRAM_ID, World
from zmartd.chain.program_accounts import find_market
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import SystemClock
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import park
from zmartd.indexer.plausibility import PAST_SLOTS
from zmartd.indexer.reconcile.reconciler import IndexReconciler
from zmartd.indexer.repair.repair import Repairer
from zmartd.indexer.retry import ParkedRetry, RetryReport
from zmartd.indexer.walks.backfill import backfill
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.store import parked
from zmartd.store.parked import Unapplied
from zmartd.tasks.catching_up import catch_up

UNSUPPORTED = refused(-32015, "Transaction version (2) is not supported by the requesting client")


class HastyClock(SystemClock):
    """Makes no pauses."""

    async def sleep(self, seconds: float) -> None:
        return


class Behind:
    """What runs on a node that a test can make misbehave."""

    def __init__(self, world: World, node: Node, rpc: Rpc) -> None:
        self.world, self.node, self.rpc = world, node, rpc
        self.fetcher: Fetcher = world.fetcher(rpc)
        self.reconciler = IndexReconciler(rpc, self.fetcher, world.database, PROGRAM_ID)
        self.retry = ParkedRetry(rpc, self.fetcher, world.database, PROGRAM_ID)


@asynccontextmanager
async def behind_a_node(world: World) -> AsyncIterator[Behind]:
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=HastyClock()) as rpc:
        yield Behind(world, node, rpc)


async def three_trades(world: World, *, indexed: bool = False) -> list[str]:
    market_id = await active(world)
    await settled(world)
    trades = [
        await world.act(holder, purchase(world, market_id, holder), indexed=indexed) for holder in HOLDERS[:3]
    ]
    await finalized(world)
    return trades


async def trades_of(world: World) -> set[str]:
    return {row[0] for row in await world.fetch("select tx_signature from trades")}


async def parked_ones(world: World) -> list[tuple[Any, ...]]:
    return await world.fetch("select tx_signature, reason, attempts from parked_transactions order by slot")


async def due_now(world: World) -> None:
    await alter(world, "update parked_transactions set next_attempt_at = now()")


async def nothing_is_wrong(one: Behind, trades: list[str], database_url: str) -> None:
    """Once the node behaves, what was parked is applied by itself."""
    one.node.behave()
    await due_now(one.world)
    await one.reconciler.run()
    assert await parked_ones(one.world) == []
    assert await trades_of(one.world) == set(trades)
    await settled(one.world)
    await assert_true_to_the_chain(one.world, database_url)


def with_version(version: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda raw: raw | {"version": version}


TROUBLES: dict[str, tuple[Any, str]] = {
    "a version that it does not give": (UNSUPPORTED, "refused"),
    "parameters that it never takes": (refused(-32602), "refused"),
    "an internal error, each time": (refused(-32603), "refused"),
    "HTTP 500, each time": (lambda: web.Response(status=500), "refused"),
    "HTTP 413": (lambda: web.Response(status=413), "refused"),
    "a web page": (lambda: web.Response(text="<html>"), "refused"),
    "no end of brackets": (lambda: web.Response(text='{"result": ' + "[" * 100_000), "refused"),
    "a list": ([], "refused"),
    "nonsense": ({"slot": 5, "meta": "nonsense"}, "unreadable"),
    "nothing of a transaction": ({}, "unreadable"),
    "a slot that is none": ({"slot": 2**70}, "unreadable"),
    "a version that nobody knows": (with_version(2), "unreadable"),
    "another transaction": ("another", "unreadable"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_one_transaction_that_the_node_does_not_give_properly_ends_no_walk(
    world: World, database_url: str, trouble: str
) -> None:
    trades = await three_trades(world)
    answer, reason = TROUBLES[trouble]
    true = await world.own.rpc.transaction(trades[1])
    other = await world.own.rpc.transaction(trades[0])
    assert true is not None
    async with behind_a_node(world) as one:
        if answer == "another":
            answer = other
        elif trouble == "a version that nobody knows":
            answer = answer(true)
        one.node.always(trades[1], answer)
        report = await one.reconciler.run()
        assert (report.missing, report.parked) == (2, 1)
        newest, *_ = await one.rpc.signatures_for_address(PROGRAM_ID)
        assert report.slot == newest.slot
        assert await trades_of(world) == {trades[0], trades[2]}
        assert await parked_ones(world) == [(trades[1], reason, 0)]
        await nothing_is_wrong(one, trades, database_url)


@pytest.mark.parametrize(
    ("down", "error"),
    [
        pytest.param(503, RpcUnavailable, id="503"),
        pytest.param(500, RpcUnavailable, id="500"),
        pytest.param(429, RpcUnavailable, id="429"),
        pytest.param(401, RpcUnavailable, id="401"),
        pytest.param(-32011, RpcRejected, id="it keeps no history"),
        pytest.param(-32003, RpcRejected, id="the day's credits are used up"),
    ],
)
async def test_the_trouble_of_a_node_is_no_transaction_s(
    world: World, down: int, error: type[Exception]
) -> None:
    trades = await three_trades(world)
    cursor = await world.fetch("select signature from indexer_cursor")
    async with behind_a_node(world) as one:
        failing = (lambda: web.Response(status=down)) if down > 0 else refused(down)
        one.node.instead("getTransaction", *[failing] * 1_000)
        with pytest.raises(error):
            await one.reconciler.run()
        walk = await RangeWalk(one.rpc, PROGRAM_ID).count()
        with pytest.raises(error):
            await backfill(world.database, one.fetcher, walk)
        assert await parked_ones(world) == []
        assert await world.fetch("select signature from indexer_cursor") == cursor
        one.node.behave()
        assert (await one.reconciler.run()).missing == len(trades)
    assert await trades_of(world) == set(trades)


async def test_a_backfill_a_catch_up_and_a_replay_go_past_it_too(world: World, database_url: str) -> None:
    trades = await three_trades(world)
    ((market_id,),) = await world.fetch("select id from markets")
    async with behind_a_node(world) as one:
        one.node.always(trades[1], UNSUPPORTED)
        walk = await RangeWalk(one.rpc, PROGRAM_ID).count()
        done = await backfill(world.database, one.fetcher, walk)
        assert (done.applied, [lost.signature for lost in done.parked], done.ok) == (2, [trades[1]], False)
        await alter(world, "delete from parked_transactions")
        market = await find_market(one.rpc, PROGRAM_ID, world.address(market_id))
        assert market is not None
        context = replace(world.own.context(), rpc=one.rpc, fetcher=one.fetcher)
        await catch_up(context, market)
        assert await parked_ones(world) == [(trades[1], "refused", 0)]
        repaired = await Repairer(one.rpc, one.fetcher, world.database, PROGRAM_ID).repair()
        assert (repaired.ok, {lost.signature for lost in repaired.done.parked}) == (False, {trades[1]})
        assert await trades_of(world) == {trades[0], trades[2]}
        await nothing_is_wrong(one, trades, database_url)


async def test_what_cannot_be_applied_holds_up_no_other_market(world: World, database_url: str) -> None:
    trades = await three_trades(world, indexed=True)
    await settled(world)
    late = await active(world)
    await finalized(world)
    await alter(world, f"delete from trade_events where tx_signature = '{trades[1]}'")
    await alter(world, "delete from indexer_cursor")
    await alter(world, "delete from market_events where event_type = 'MarketActivated'")
    async with behind_a_node(world) as one:
        report = await one.reconciler.run()
        assert (report.missing, report.parked) == (2, 1)
        assert await parked_ones(world) == [(trades[1], "failed", 0)]
        ((detail,),) = await world.fetch("select detail from parked_transactions")
        assert "zmartd audit --repair" in detail
        assert await world.fetch("select state from markets where id = $1", late) == [("ACTIVE",)]
        await Repairer(one.rpc, one.fetcher, world.database, PROGRAM_ID).repair_everything()
        await nothing_is_wrong(one, trades, database_url)


async def test_a_node_that_lists_a_transaction_and_does_not_have_it_is_waited_for_an_hour(
    world: World, database_url: str
) -> None:
    trades = await three_trades(world)
    async with behind_a_node(world) as one:
        one.node.always(trades[1], None)
        first = await one.reconciler.run()
        assert (first.missing, first.parked) == (2, 0)
        await world.leap(PAST_SLOTS)
        await finalized(world)
        second = await one.reconciler.run()
        assert (second.slot or 0) > (first.slot or 0)
        assert await parked_ones(world) == [(trades[1], "withheld", 0)]
        await nothing_is_wrong(one, trades, database_url)


async def test_what_a_webhook_brought_and_the_node_does_not_give_keeps_no_other_from_being_final(
    world: World, database_url: str
) -> None:
    trades = await three_trades(world, indexed=True)
    async with behind_a_node(world) as one:
        one.node.always(trades[0], UNSUPPORTED)
        greedy = IndexReconciler(one.rpc, one.fetcher, world.database, PROGRAM_ID, max_fetched=1)
        await greedy.run()
        await greedy.run()
        final = await world.fetch("select tx_signature from trades where commitment = 'finalized'")
        assert {row[0] for row in final} == set(trades[1:])
        assert await parked_ones(world) == [(trades[0], "refused", 0)]
        await nothing_is_wrong(one, trades, database_url)


async def test_a_transaction_without_a_status_that_the_node_refuses_to_give_is_not_rolled_back(
    world: World,
) -> None:
    trades = await three_trades(world, indexed=True)
    async with behind_a_node(world) as one:
        slot = await one.rpc.slot()
        one.node.instead("getSignatureStatuses", {"context": {"slot": slot}, "value": [None] * len(trades)})
        for signature in trades:
            one.node.always(signature, UNSUPPORTED)
        assert (await one.reconciler.run()).rolled_back == 0
    assert await trades_of(world) == set(trades)


async def test_a_parked_transaction_is_tried_ever_less_often(world: World) -> None:
    trades = await three_trades(world)
    async with behind_a_node(world) as one:
        one.node.always(trades[1], UNSUPPORTED)
        await one.reconciler.run()
        assert (await one.retry.run()).parked == (), "it is not due yet"
        pauses = []
        for attempt in range(1, 7):
            await due_now(world)
            assert (await one.retry.run()).parked == (trades[1],)
            ((attempts, minutes),) = await world.fetch(
                "select attempts, round(extract(epoch from next_attempt_at - now()) / 60)"
                " from parked_transactions"
            )
            assert attempts == attempt
            pauses.append(int(minutes))
        assert pauses == [5, 30, 120, 360, 360, 360]


async def test_what_has_left_the_chain_or_failed_there_is_parked_no_longer(world: World) -> None:
    trades = await three_trades(world)
    never, slot = "3" * 87, await world.own.rpc.slot()
    later = Unapplied("4" * 87, slot + 10**6, "refused", "no")
    await park(world.database, [Unapplied(never, 1, "refused", "no"), later])
    await park(world.database, [Unapplied(trades[0], 2, "refused", "no")])
    async with behind_a_node(world) as one:
        value = {"slot": slot, "err": "AccountInUse", "confirmationStatus": "finalized"}
        ahead = {"context": {"slot": slot + 10**6}, "value": [None, value, None]}
        one.node.instead("getSignatureStatuses", ahead)
        report = await one.retry.retry_now()
        assert (set(report.gone), report.parked) == ({never, trades[0]}, (later.signature,))


async def test_a_node_that_is_behind_shows_nothing_to_have_left_the_chain(world: World) -> None:
    await finalized(world)
    never = Unapplied("3" * 87, 1, "withheld", "no")
    await park(world.database, [never])
    async with behind_a_node(world) as one:
        one.node.instead("getSignatureStatuses", {"context": {"slot": 0}, "value": [None]})
        assert await one.retry.retry_now() == RetryReport(parked=(never.signature,))
        assert (await one.retry.retry_now()).gone == (never.signature,)


async def test_nothing_has_left_the_chain_that_the_node_still_lists(world: World) -> None:
    trades = await three_trades(world)
    true = await world.own.rpc.transaction(trades[1])
    assert true is not None
    await park(world.database, [Unapplied(trades[1], true["slot"], "withheld", "the node does not have it")])
    async with behind_a_node(world) as one:
        one.node.always(trades[1], None)
        nothing = {"context": {"slot": await one.rpc.slot() + 10**6}, "value": [None]}
        one.node.instead("getSignatureStatuses", nothing, nothing)
        assert await one.retry.retry_now() == RetryReport(parked=(trades[1],))
        one.node.changes["getSignaturesForAddress"] = lambda listed: [
            info for info in listed if info["signature"] != trades[1]
        ]
        assert (await one.retry.retry_now()).gone == (trades[1],)


async def test_nothing_is_rolled_back_that_the_node_still_lists(world: World) -> None:
    trades = await three_trades(world, indexed=True)
    async with behind_a_node(world) as one:
        node_has_lost(one, trades[1])
        assert (await one.reconciler.run()).rolled_back == 0
        assert await trades_of(world) == set(trades)
        one.node.changes["getSignaturesForAddress"] = lambda listed: [
            info for info in listed if info["signature"] != trades[1]
        ]
        assert (await one.reconciler.run()).rolled_back == 1
        assert await trades_of(world) == {trades[0], trades[2]}


def node_has_lost(one: Behind, signature: str) -> None:
    """The node knows no status of a transaction, and does not have it."""
    one.node.always(signature, None)
    one.node.changes["getSignatureStatuses"] = lambda answer: (
        answer | {"value": [None for _ in answer["value"]]}
    )


async def test_a_detail_of_any_text_is_kept_up_to_its_bound(world: World) -> None:
    await park(world.database, [Unapplied("3" * 87, 1, "unreadable", "\0\ud800" + "é" * 9_000)])
    async with world.database.service() as connection:
        (one,) = await parked.listed(connection, 10)
    assert one.detail == "?" + "é" * (parked.MAX_DETAIL_LENGTH - 1)
