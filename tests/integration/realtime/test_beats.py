from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_MARKET,
    Markets,
    RecordingWriter,
    state,
    trade,
)
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.realtime.beats import Beats
from zmartd.realtime.bus import Bus
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store import pulses
from zmartd.store.postgres.database import Database
from zmartd.store.pulses import ChainProgress

CLOCK = SystemClock()
TEN_SECONDS = 10.0


class Heart:
    """Raises the pulse and publishes it, as a daemon does."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self.slot = 100
        self.is_stopped = False

    async def run(self) -> None:
        while True:
            if not self.is_stopped:
                self.slot += 1
                progress = ChainProgress(self.slot, self.slot, 1_772_366_400 + self.slot)
                async with self._database.service() as connection:
                    pulse = await pulses.beat(connection, 0.1, progress)
                if pulse is not None:
                    await self._bus.publish_pulse(pulse)
            await asyncio.sleep(0.5)


class Rig:
    def __init__(self, hub: Hub, beats: Beats, heart: Heart, markets: Markets) -> None:
        self.hub = hub
        self.beats = beats
        self.heart = heart
        self.markets = markets

    async def subscriber(self, *names: str) -> RecordingWriter:
        writer = RecordingWriter()
        client = self.hub.connect(writer)
        for name in names:
            await self.hub.subscribe(client, name)
        return writer


@asynccontextmanager
async def running(database: Database, redis: Redis) -> AsyncIterator[Rig]:
    bus = Bus(redis, CLOCK)
    markets, heart = Markets(database, bus), Heart(database, bus)
    await markets.create()
    hub = Hub(bus, StreamHistory(database), config.RealtimeSettings(), CLOCK)
    beats = Beats(hub, bus, CLOCK)
    tasks = [asyncio.create_task(one.run()) for one in (hub, beats, heart)]
    yield Rig(hub, beats, heart, markets)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def rig(database: Database, redis: Redis) -> AsyncIterator[Rig]:
    async with running(database, redis) as rig:
        yield rig


async def test_a_beat_says_up_to_where_a_client_has_everything(rig: Rig) -> None:
    writer = await rig.subscriber(MARKET, ADDRESS, OTHER_MARKET)
    committed = await rig.markets.change(trade(), state(3))
    assert committed[0].position is not None
    await writer.until(lambda out: any(beat["data"]["streams"][MARKET] == 2 for beat in out.beats))
    beat = writer.beats[-1]
    assert beat["epoch"] == committed[0].position.epoch
    assert beat["data"]["streams"] == {MARKET: 2, ADDRESS: 2, OTHER_MARKET: 0}
    assert beat["data"]["degraded"] == []
    assert 100 < beat["data"]["slot"] <= rig.heart.slot
    assert beat["data"]["time"].startswith("2026-03-01T12:0")


async def test_beats_come_at_least_every_five_seconds_to_those_who_subscribed_to_something(rig: Rig) -> None:
    everything, idle = await rig.subscriber(EVERY_MARKET), await rig.subscriber()
    await everything.until(lambda out: len(out.beats) > 0)
    for _ in range(2):
        everything.beats.clear()
        async with asyncio.timeout(5.5):
            await everything.until(lambda out: len(out.beats) > 0)
    assert everything.beats[-1]["data"]["streams"] == {}
    assert idle.beats == []


async def test_a_beat_never_says_more_than_its_client_was_sent(rig: Rig) -> None:
    writers = [await rig.subscriber(MARKET) for _ in range(5)]
    for _ in range(150):
        await rig.markets.change(trade())
    for writer in writers:
        await writer.until(lambda out: out.told[-1:] == [150] and len(out.beats) > 1)
        for before, beat in writer.told_before_beats:
            assert beat["data"]["streams"][MARKET] == before


async def test_an_indexer_that_commits_nothing_is_named_and_the_client_told_when_it_goes_on(rig: Rig) -> None:
    writer = await rig.subscriber(MARKET)
    await writer.until(lambda out: len(out.beats) > 0)
    rig.heart.is_stopped = True
    async with asyncio.timeout(TEN_SECONDS):
        await writer.until(lambda out: out.beats[-1]["data"]["degraded"] == ["indexer"])
    assert rig.beats.degraded == ("indexer",)
    assert REGISTRY.get_sample_value("zmartd_realtime_degraded", {"reason": "indexer"}) == 1
    stopped_at = writer.beats[-1]["data"]["slot"]
    rig.heart.is_stopped = False
    async with asyncio.timeout(TEN_SECONDS):
        await writer.until(lambda out: out.beats[-1]["data"]["degraded"] == [])
    assert writer.beats[-1]["data"]["slot"] > stopped_at - 2
    assert REGISTRY.get_sample_value("zmartd_realtime_degraded", {"reason": "indexer"}) == 0


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
async def test_a_redis_that_is_away_is_named_and_the_client_told_when_it_is_back(
    own_valkey: EmbeddedValkey, database: Database, stopped: bool
) -> None:
    async with Redis.from_url(own_valkey.url) as redis, running(database, redis) as rig:
        writer = await rig.subscriber(MARKET)
        await writer.until(lambda out: len(out.beats) > 0)
        if stopped:
            os.kill(own_valkey.pid, signal.SIGSTOP)
        else:
            await own_valkey.stop()
        async with asyncio.timeout(TEN_SECONDS):
            await writer.until(lambda out: out.beats[-1]["data"]["degraded"] == ["redis"])
        await rig.markets.commit(None)
        await writer.until(lambda out: out.told == [1])
        if stopped:
            os.kill(own_valkey.pid, signal.SIGCONT)
        else:
            await own_valkey.start()
        async with asyncio.timeout(2 * TEN_SECONDS):
            await writer.until(lambda out: out.beats[-1]["data"]["degraded"] == [])
