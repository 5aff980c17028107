"""A fork on the chain, one daemon that finds it, and the clients of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.test_reconcile import (
    active,
    finalized,
    open_slot,
    purchase,
    reconciled,
    roll_back,
)
from tests.integration.realtime.listeners import RecordingWriter
from tests.integration.tasks.world import HOLDERS, World
from zmartd import config
from zmartd.chain.assemble import sign
from zmartd.chain.transport import RpcRejected
from zmartd.clock import SystemClock
from zmartd.market.ids import trade_id
from zmartd.realtime.bus import Bus
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub


@pytest.fixture
async def hub_of_another_daemon(world: World, redis_url: str) -> AsyncIterator[Hub]:
    redis = Redis.from_url(redis_url)
    hub = Hub(
        Bus(redis, SystemClock()),
        StreamHistory(world.database),
        config.RealtimeSettings(),
        SystemClock(),
    )
    task = asyncio.create_task(hub.run())
    await hub.listening()
    yield hub
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await redis.aclose()


async def trade_that_lands_twice(world: World, market_id: str) -> tuple[str, int]:
    """The signature of a trade that a fork took and that landed again, and its first slot.

    Tried until the test is quick enough: a blockhash ends after as many blocks as it lives.
    """
    rpc = world.own.rpc
    while True:
        before = await open_slot(world)
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
        assert wire.signature in await roll_back(world, before)
        while await rpc.block_height() <= wire.last_valid_block_height:
            with suppress(RpcRejected):
                await rpc.broadcast(wire.wire)
            if await rpc.transaction(wire.signature) is not None:
                return wire.signature, first.slot


async def test_a_fork_takes_a_trade_and_it_lands_again(world: World, hub_of_another_daemon: Hub) -> None:
    market_id = await active(world)
    await finalized(world)
    client = RecordingWriter()
    await hub_of_another_daemon.subscribe(hub_of_another_daemon.connect(client), market_id)
    signature, first_slot = await trade_that_lands_twice(world, market_id)
    await reconciled(world)
    id_ = trade_id(signature, 0)
    await client.until(lambda out: len(about(out, id_)) == 3)
    announced, retracted, again = about(client, id_)
    assert [frame["type"] for frame in (announced, retracted, again)] == ["trade", "retracted", "trade"]
    assert announced["data"]["slot"] == retracted["data"]["slot"] == first_slot < again["data"]["slot"]
    assert announced["seq"] < retracted["seq"] < again["seq"]
    assert {frame["commitment"] for frame in (announced, retracted, again)} == {"confirmed"}

    await finalized(world)
    await reconciled(world)
    await client.until(lambda out: any(frame["data"].get("market") is True for frame in out.frames))
    final = [frame for frame in client.frames if frame["type"] == "commitment"]
    assert {frame["commitment"] for frame in final} == {"finalized"}
    assert [frame["data"]["trades"].count(id_) for frame in final if id_ in frame["data"]["trades"]] == [1]


def about(writer: RecordingWriter, record_id: str) -> list[dict[str, Any]]:
    return [frame for frame in writer.frames if frame["data"].get("id") == record_id]
