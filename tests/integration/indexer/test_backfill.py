from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from based58 import b58decode, b58encode
from solders.instruction import AccountMeta, Instruction
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import node_before
from tests.integration.tasks.world import CREATOR, HOLDERS, PROGRAM_ID, World
from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.indexer.audit.audit import audit
from zmartd.indexer.walks.backfill import backfill
from zmartd.indexer.walks.ranged import WHOLE_HISTORY, HistoryChanged, RangeWalk, SignatureRange, UnknownEnd


async def history(world: World) -> list[SignatureInfo]:
    return (await world.own.rpc.signatures_for_address(PROGRAM_ID))[::-1]


async def walked(
    world: World, signatures_between: SignatureRange = WHOLE_HISTORY, page_size: int = 1_000
) -> list[list[str]]:
    """The signatures of a range, page by page."""
    walk = await RangeWalk(world.own.rpc, PROGRAM_ID, signatures_between, page_size).count()
    pages = [[one.signature for one in page] async for page in walk.pages()]
    assert walk.transactions == sum(map(len, pages))
    return pages


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 9, 1_000])
async def test_every_range_is_walked_oldest_first_and_once_whatever_the_size_of_a_page(
    world: World, page_size: int
) -> None:
    for _ in range(7):
        await world.proposal(indexed=False)
    whole = await history(world)
    signatures = [one.signature for one in whole]
    ranges = {
        WHOLE_HISTORY: signatures,
        SignatureRange(from_slot=whole[3].slot): signatures[3:],
        SignatureRange(until=whole[4].slot): signatures[:5],
        SignatureRange(until=signatures[4]): signatures[:5],
        SignatureRange(whole[2].slot, signatures[5]): signatures[2:6],
        SignatureRange(whole[2].slot, whole[2].slot): signatures[2:3],
        SignatureRange(from_slot=whole[-1].slot + 1): [],
    }
    for signatures_between, expected in ranges.items():
        pages = await walked(world, signatures_between, page_size)
        assert [one for page in pages for one in page] == expected, signatures_between
        assert all(len(page) <= page_size for page in pages)


async def test_what_happens_during_a_backfill_moves_no_page_of_it(world: World) -> None:
    for _ in range(5):
        await world.proposal(indexed=False)
    before = [one.signature for one in await history(world)]
    walk = await RangeWalk(world.own.rpc, PROGRAM_ID, page_size=2).count()
    seen: list[str] = []
    async for page in walk.pages():
        seen += [one.signature for one in page]
        await world.proposal(indexed=False)
    assert seen == before


async def test_a_walk_is_refused_once_the_node_lists_other_signatures(world: World) -> None:
    for _ in range(3):
        await world.proposal(indexed=False)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        walk = await RangeWalk(rpc, PROGRAM_ID, page_size=2).count()
        node.instead("getSignaturesForAddress", [])
        with pytest.raises(HistoryChanged):
            await backfill(world.database, world.fetcher(rpc), walk)


@pytest.mark.parametrize("until", ["1" * 64, "no signature at all"])
async def test_a_range_that_ends_with_an_unknown_transaction_is_refused(world: World, until: str) -> None:
    with pytest.raises(UnknownEnd):
        await RangeWalk(world.own.rpc, PROGRAM_ID, SignatureRange(until=until)).count()


async def test_a_range_does_not_begin_after_its_end(world: World) -> None:
    await world.proposal(indexed=False)
    first, last = await history(world)
    with pytest.raises(UnknownEnd):
        await RangeWalk(world.own.rpc, PROGRAM_ID, SignatureRange(last.slot + 1, first.signature), 2).count()


async def test_a_backfill_fills_an_empty_index_and_reports_its_progress(world: World) -> None:
    market_id = await world.proposal(indexed=False)
    await world.approve(market_id, indexed=False)
    seen: list[tuple[int, int]] = []
    walk = await RangeWalk(world.own.rpc, PROGRAM_ID, page_size=2).count()
    done = await backfill(
        world.database, world.own.fetcher, walk, lambda done, total: seen.append((done, total))
    )
    assert (done.transactions, done.applied, done.new_events, done.ok) == (3, 2, 3, True)
    assert seen == [(0, 3), (1, 3), (3, 3)]
    assert (await audit(world.database, world.own.rpc, PROGRAM_ID)).differences == ()


async def test_a_backfill_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    for _ in range(5):
        await world.proposal(indexed=False)

    class Stopped(Exception):
        pass

    def stop_after_four(done: int, total: int) -> None:
        if done == 4:
            raise Stopped

    walk = await RangeWalk(world.own.rpc, PROGRAM_ID, page_size=2).count()
    with pytest.raises(Stopped):
        await backfill(world.database, world.own.fetcher, walk, stop_after_four)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        walk = await RangeWalk(rpc, PROGRAM_ID, page_size=2).count()
        done = await backfill(world.database, world.fetcher(rpc), walk)
        assert (done.transactions, done.applied, node.requests["getTransaction"]) == (6, 2, 2)
    assert (await audit(world.database, world.own.rpc, PROGRAM_ID)).differences == ()


async def test_a_transaction_that_the_node_does_not_give_is_named_and_left_for_the_next_time(
    world: World,
) -> None:
    await world.proposal(indexed=False)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        node.instead("getTransaction", None)
        fetcher = world.fetcher(rpc)
        first = await backfill(world.database, fetcher, await RangeWalk(rpc, PROGRAM_ID).count())
        second = await backfill(world.database, fetcher, await RangeWalk(rpc, PROGRAM_ID).count())
    assert (first.not_found, first.ok) == (((await history(world))[-1].signature,), False)
    assert (second.applied, second.ok) == (1, True)


async def mention(world: World, lamports: int) -> str:
    """A payment that mentions the program without calling it."""
    paid = transfer(
        TransferParams(from_pubkey=CREATOR.pubkey(), to_pubkey=HOLDERS[0].pubkey(), lamports=lamports)
    )
    also = AccountMeta(PROGRAM_ID, is_signer=False, is_writable=False)
    return await world.act(
        CREATOR, Instruction(paid.program_id, paid.data, [*paid.accounts, also]), indexed=False
    )


async def test_a_final_transaction_without_an_event_is_fetched_once(world: World) -> None:
    await mention(world, 5_000_000)
    market_id = await world.proposal(indexed=False)
    await world.cheat("zmartd_advanceSlots", {"slots": 33})
    await world.cheat("zmartd_holdFinality", {"hold": True})
    late = await mention(world, 6_000_000)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        fetcher = world.fetcher(rpc)

        async def fetched() -> int:
            before = node.requests["getTransaction"]
            await backfill(world.database, fetcher, await RangeWalk(rpc, PROGRAM_ID).count())
            return node.requests["getTransaction"] - before

        assert await fetched() == 3
        assert await fetched() == 1, "the late one may still land elsewhere"
        await world.cheat("zmartd_holdFinality", {"hold": False})
        await world.cheat("zmartd_advanceSlots", {"slots": 33})
        assert await fetched() == 1
        assert await fetched() == 0
    assert (late,) in await world.fetch("select tx_signature from eventless_transactions")
    assert await world.fetch("select commitment from market_events") == [("finalized",)]
    assert await world.fetch("select id from markets") == [(market_id,)]


async def test_what_a_transaction_without_an_event_turns_into_elsewhere_is_not_lost(world: World) -> None:
    await world.proposal(indexed=False)
    (newest, *_) = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    fetched = await world.own.fetcher.fetch([newest.signature])
    (created,) = fetched.transactions
    await world.own.fetcher.indexer.apply([msgspec.structs.replace(created, events=(), creations=())])
    done = await backfill(
        world.database, world.own.fetcher, await RangeWalk(world.own.rpc, PROGRAM_ID).count()
    )
    assert done.new_events == 1


def made_up_signature(number: int) -> str:
    return b58encode(b"\1" * 32 + number.to_bytes(32, "big")).decode()


@asynccontextmanager
async def a_node_with_a_long_history(transactions: int) -> AsyncIterator[str]:
    """A node that only lists signatures, each in a slot of its own, generated on request."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        _, options = body["params"]
        before = options.get("before")
        top = int.from_bytes(b58decode(before.encode())[32:], "big") if before else transactions
        walked = [
            {"signature": made_up_signature(number), "slot": number, "confirmationStatus": "finalized"}
            for number in range(top - 1, max(top - 1 - options["limit"], -1), -1)
        ]
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": walked})

    application = web.Application()
    application.router.add_post("/", handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


async def peak_bytes(transactions: int) -> int:
    async with (
        a_node_with_a_long_history(transactions) as url,
        Rpc(url, clock=SystemClock()) as rpc,
    ):
        tracemalloc.start()
        try:
            walk = await RangeWalk(rpc, PROGRAM_ID).count()
            slots = [page[0].slot async for page in walk.pages()]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (walk.transactions, len(slots)) == (transactions, transactions // 1_000)
    assert slots == sorted(slots)
    return peak


async def test_a_long_walk_takes_the_memory_of_a_short_one() -> None:
    short, long = await peak_bytes(2_000), await peak_bytes(40_000)
    assert long < 2 * short
