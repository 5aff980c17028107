from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from redis.asyncio import Redis

from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    address_of,
    eventually,
    message,
    state,
    trade,
)
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.hub import EVERY_MARKET, MAX_SNAPSHOT_READS, Hub, TooManySubscriptions, UnknownMarket
from zmartd.realtime.messages import Message, PriceUpdate, Promotion, Retraction, VoteCast

SETTINGS = config.RealtimeSettings(max_subscriptions=3, max_buffered_bytes=4_096)


@pytest.fixture
def markets() -> Markets:
    return Markets()


@pytest.fixture
async def hub(bus: Bus, markets: Markets) -> AsyncIterator[Hub]:
    async for running in running_hub(bus, markets):
        yield running


async def running_hub(bus: Bus, markets: Markets) -> AsyncIterator[Hub]:
    hub = Hub(bus, markets.read, address_of, SETTINGS, SystemClock())
    task = asyncio.create_task(hub.run())
    async with asyncio.timeout(120):
        await hub.listening()
    yield hub
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def subscriber(hub: Hub, *names: str) -> RecordingWriter:
    writer = RecordingWriter()
    client = hub.connect(writer)
    for name in names:
        await hub.subscribe(client, name)
    return writer


async def test_subscribers_get_what_is_published_in_its_order(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, MARKET)
    await bus.publish([message(version) for version in range(1, 51)])
    await writer.until(lambda out: len(out.seqs("trade")) == 50)
    assert writer.seqs("trade") == list(range(1, 51))


async def test_nobody_gets_what_he_did_not_ask_for(hub: Hub, bus: Bus) -> None:
    idle, other, everything = (
        await subscriber(hub),
        await subscriber(hub, OTHER_MARKET),
        await subscriber(hub, EVERY_MARKET),
    )
    await bus.publish([message(1), message(2)])
    await everything.until(lambda out: out.seqs("trade") == [1, 2])
    assert idle.frames == []
    assert [frame["type"] for frame in other.frames] == ["market_state"]


async def test_the_market_is_named_as_the_client_named_it(hub: Hub, bus: Bus) -> None:
    by_id, by_address = await subscriber(hub, MARKET), await subscriber(hub, ADDRESS)
    everything = await subscriber(hub, EVERY_MARKET)
    await bus.publish([message(1)])
    for writer, name in ((by_id, MARKET), (by_address, ADDRESS), (everything, MARKET)):
        await writer.until(lambda out: out.seqs("trade") == [1])
        assert writer.frames[-1]["market_id"] == name
        assert writer.frames[-1]["data"]["marketId"] == name


async def test_a_market_that_is_in_the_firehose_anyway_comes_once(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, EVERY_MARKET, MARKET)
    await bus.publish([message(1), message(9, market_id=OTHER_MARKET)])
    await writer.until(lambda out: 9 in out.seqs("trade"))
    assert writer.seqs("trade") == [1, 9]


async def test_votes_reach_the_subscribers_of_their_market(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, MARKET)
    vote = VoteCast(vote_type=VoteKind.PROPOSAL)
    await bus.publish([message(0, vote, market_id=OTHER_MARKET), message(0, vote)])
    await writer.until(lambda out: out.frames[-1]["type"] == "vote")
    assert len(writer.frames) == 2
    assert writer.frames[-1]["market_id"] == MARKET


async def test_who_signs_in_sees_whole_wallets_from_then_on(hub: Hub, bus: Bus) -> None:
    writer = RecordingWriter()
    client = hub.connect(writer)
    await hub.subscribe(client, MARKET)
    await bus.publish([message(1)])
    await writer.until(lambda out: out.seqs("trade") == [1])
    client.signed_in = True
    await bus.publish([message(2)])
    await writer.until(lambda out: out.seqs("trade") == [1, 2])
    assert [frame["data"]["trader"] for frame in writer.frames[1:]] == ["FZ5W…dMYX", TRADER]


async def test_between_the_snapshot_and_the_live_frames_nothing_is_missed_or_repeated(
    hub: Hub, bus: Bus, markets: Markets
) -> None:
    """While the market is read at version 5, versions 4 to 7 are published."""
    witness = await subscriber(hub, EVERY_MARKET)
    markets.versions[MARKET] = 5
    markets.free.clear()
    writer = RecordingWriter()
    joining = asyncio.create_task(hub.subscribe(hub.connect(writer), MARKET))
    await markets.reading.wait()
    await bus.publish([message(version) for version in (4, 5, 6, 7)])
    await witness.until(lambda out: out.seqs("trade") == [4, 5, 6, 7])
    assert writer.frames == []

    markets.free.set()
    await joining
    await bus.publish([message(5), message(8)])
    await writer.until(lambda out: 8 in out.seqs("trade"))

    assert writer.frames[0]["seq"] == 5
    assert writer.frames[0]["data"]["totalShares"] == "5"
    assert writer.seqs("trade") == [6, 7, 8]


async def test_a_vote_is_no_part_of_a_snapshot_and_is_held_for_who_joins(
    hub: Hub, bus: Bus, markets: Markets
) -> None:
    witness = await subscriber(hub, EVERY_MARKET)
    markets.versions[MARKET] = 5
    markets.free.clear()
    writer = RecordingWriter()
    joining = asyncio.create_task(hub.subscribe(hub.connect(writer), MARKET))
    await markets.reading.wait()
    await bus.publish([message(5, VoteCast(vote_type=VoteKind.DISPUTE))])
    await witness.until(lambda out: len(out.seqs("vote")) == 1)
    markets.free.set()
    await joining
    await writer.until(lambda out: len(out.seqs("vote")) == 1)


async def test_a_late_state_or_price_does_not_move_a_client_backwards(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, MARKET)
    price = PriceUpdate(price_yes=1, shares_yes=0, shares_no=0)
    await bus.publish(
        [message(2, state(2)), message(2, price), message(1, state(1)), message(1, price), message(1)]
    )
    await writer.until(lambda out: out.seqs("trade") == [1])
    assert writer.seqs("market_state") == [0, 2]
    assert writer.seqs("price_update") == [2]


def retraction(version: int, record_id: str = "t", kind: Literal["trade", "vote"] = "trade") -> Message:
    return message(version, Retraction(kind=kind, record_id=record_id, slot=1))


async def test_a_retraction_reaches_every_subscriber_before_the_record_is_announced_again(
    hub: Hub, bus: Bus
) -> None:
    writers = [await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)]
    await bus.publish([message(1, trade()), retraction(2), message(3, trade())])
    for writer in writers:
        await writer.until(lambda out: out.seqs("trade") == [1, 3])
        kinds = [frame["type"] for frame in writer.frames if frame["type"] != "market_state"]
        assert kinds == ["trade", "retracted", "trade"]
        assert [frame["data"]["id"] for frame in writer.frames if frame["type"] == "retracted"] == ["t"]


async def test_a_late_retraction_does_not_take_what_has_landed_again(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, MARKET)
    await bus.publish([message(1, trade()), message(3, trade()), retraction(2), message(4, trade("u"))])
    await writer.until(lambda out: out.seqs("trade") == [1, 3, 4])
    assert writer.seqs("retracted") == []


async def test_a_late_announcement_does_not_bring_back_what_was_retracted(hub: Hub, bus: Bus) -> None:
    writer = await subscriber(hub, MARKET)
    await bus.publish([retraction(2), message(1, trade()), message(3, trade("u"))])
    await writer.until(lambda out: out.seqs("trade") == [3])
    assert writer.seqs("retracted") == [2]


async def test_who_joins_gets_the_retractions_after_his_snapshot_and_those_of_all_votes(
    hub: Hub, bus: Bus, markets: Markets
) -> None:
    witness = await subscriber(hub, EVERY_MARKET)
    markets.versions[MARKET] = 5
    markets.free.clear()
    writer = RecordingWriter()
    joining = asyncio.create_task(hub.subscribe(hub.connect(writer), MARKET))
    await markets.reading.wait()
    vote = VoteCast(vote_type=VoteKind.PROPOSAL, vote_id="v")
    await bus.publish([message(4, vote), retraction(5, "v", "vote"), retraction(5, "t"), retraction(6, "u")])
    await witness.until(lambda out: out.seqs("retracted") == [5, 5, 6])
    markets.free.set()
    await joining
    await writer.until(lambda out: out.seqs("retracted")[-1:] == [6])
    assert [(frame["type"], frame["data"]["id"]) for frame in writer.frames[1:]] == [
        ("vote", "v"),
        ("retracted", "v"),
        ("retracted", "u"),
    ]


async def test_what_has_become_final_is_told_to_who_has_the_market_of_that_version(
    hub: Hub, bus: Bus, markets: Markets
) -> None:
    markets.versions[MARKET] = 5
    writer = await subscriber(hub, MARKET)
    await bus.publish([message(5, Promotion(trades=("t",), market=True))])
    await writer.until(lambda out: out.seqs("commitment") == [5])
    assert writer.frames[-1]["data"] == {"market": True, "trades": ["t"], "votes": []}


async def test_a_daemon_that_starts_tells_the_clients_of_all_daemons_that_they_may_lack_something(
    hub: Hub, bus: Bus, markets: Markets, redis_url: str
) -> None:
    """Another daemon was killed after its commit of version 1, and before it published that."""
    watcher, everything = await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)
    markets.versions[MARKET] = 1
    async with Redis.from_url(redis_url) as redis:
        await Bus(redis, SystemClock()).report_gap()
    await watcher.until(lambda out: out.seqs("market_state") == [0, 1])
    await everything.until(lambda out: out.frames[-1]["type"] == "resync")
    assert [frame["type"] for frame in watcher.frames] == ["market_state", "resync", "market_state"]


async def test_a_client_that_stops_reading_is_dropped_and_the_others_lose_nothing(hub: Hub, bus: Bus) -> None:
    slow, quick = await subscriber(hub, MARKET), await subscriber(hub, MARKET)
    slow.stalled = True
    await bus.publish([message(version) for version in range(1, 101)])
    await quick.until(lambda out: len(out.seqs("trade")) == 100)
    await bus.publish([message(101)])
    await quick.until(lambda out: out.seqs("trade")[-1] == 101)
    await slow.until(lambda out: out.closed is not None)
    assert slow.closed is not None
    assert slow.closed[0] == 1013
    assert 101 not in slow.seqs("trade")


async def test_an_unsubscribed_client_gets_no_more(hub: Hub, bus: Bus) -> None:
    witness = await subscriber(hub, MARKET)
    writer = RecordingWriter()
    client = hub.connect(writer)
    await hub.subscribe(client, MARKET)
    hub.unsubscribe(client, MARKET)
    await bus.publish([message(1)])
    await witness.until(lambda out: out.seqs("trade") == [1])
    assert [frame["data"]["message"] for frame in writer.frames] == [
        f"Subscribed to market {MARKET}",
        f"Unsubscribed from market {MARKET}",
    ]
    assert [frame["data"]["subscriptions"] for frame in writer.frames] == [[MARKET], []]


async def test_a_client_may_leave_while_its_subscription_is_answered(hub: Hub, markets: Markets) -> None:
    markets.free.clear()
    writer = RecordingWriter()
    client = hub.connect(writer)
    joining = asyncio.create_task(hub.subscribe(client, MARKET))
    await markets.reading.wait()
    hub.disconnect(client)
    markets.free.set()
    await joining
    assert writer.frames == []


async def test_subscriptions_are_limited_and_repeating_one_counts_once(hub: Hub) -> None:
    client = hub.connect(RecordingWriter())
    for name in (MARKET, ADDRESS, OTHER_MARKET, OTHER_MARKET):
        await hub.subscribe(client, name)
    with pytest.raises(TooManySubscriptions):
        await hub.subscribe(client, EVERY_MARKET)
    hub.unsubscribe(client, ADDRESS)
    await hub.subscribe(client, EVERY_MARKET)
    assert client.subscriptions == [MARKET, OTHER_MARKET, EVERY_MARKET]


async def test_a_market_that_there_is_not_takes_no_room_and_no_more_reads(
    hub: Hub, bus: Bus, markets: Markets
) -> None:
    witness = await subscriber(hub, EVERY_MARKET)
    client = hub.connect(RecordingWriter())
    for _ in range(5):
        with pytest.raises(UnknownMarket, match=f'no market "{"7c" * 32}" on the chain'):
            await hub.subscribe(client, "7c" * 32)
    assert (client.subscriptions, markets.asked) == ([], 5)
    await bus.report_gap()
    await witness.until(lambda out: out.frames[-1]["type"] == "resync")
    assert markets.asked == 5
    await hub.subscribe(client, MARKET)
    assert client.subscriptions == [MARKET]


async def test_a_market_that_has_gone_ends_the_subscription_that_is_repeated(
    hub: Hub, markets: Markets
) -> None:
    client = hub.connect(RecordingWriter())
    await hub.subscribe(client, MARKET)
    del markets.versions[MARKET]
    with pytest.raises(UnknownMarket):
        await hub.subscribe(client, MARKET)
    assert client.subscriptions == []


async def test_strangers_who_subscribe_leave_the_database_s_connections_to_others(
    hub: Hub, markets: Markets
) -> None:
    markets.free.clear()
    names = [MARKET, OTHER_MARKET, *(f"{number:064x}" for number in range(20))]
    joining = [asyncio.create_task(hub.subscribe(hub.connect(RecordingWriter()), name)) for name in names]
    await eventually(lambda: markets.at_once == MAX_SNAPSHOT_READS)
    markets.free.set()
    ended = await asyncio.gather(*joining, return_exceptions=True)
    assert [type(one) for one in ended] == [type(None)] * 2 + [UnknownMarket] * 20
    assert (markets.asked, markets.at_once) == (len(names), MAX_SNAPSHOT_READS)


async def test_while_the_database_hangs_a_subscription_goes_on_without_a_snapshot(
    bus: Bus, markets: Markets
) -> None:
    hub = Hub(bus, markets.read, address_of, SETTINGS, SystemClock(), turn_seconds=0.01)
    markets.free.clear()
    hanging = [asyncio.create_task(subscriber(hub, MARKET)) for _ in range(MAX_SNAPSHOT_READS)]
    await eventually(lambda: markets.at_once == MAX_SNAPSHOT_READS)
    writer = await subscriber(hub, MARKET)
    await writer.until(lambda out: len(out.frames) == 1)
    assert writer.frames[0]["data"]["known"] is False
    markets.free.set()
    for other in await asyncio.gather(*hanging):
        await other.until(lambda out: out.seqs("market_state") == [0])


async def test_a_read_that_fails_costs_the_snapshot_and_not_the_subscription(bus: Bus) -> None:
    async def fails(name: str) -> None:
        raise OSError(f"no database to read {name} from")

    hub = Hub(bus, fails, address_of, SETTINGS, SystemClock())
    task = asyncio.create_task(hub.run())
    await hub.listening()
    writer = await subscriber(hub, MARKET)
    await bus.publish([message(1)])
    await writer.until(lambda out: out.seqs("trade") == [1])
    assert writer.frames[0]["data"]["known"] is False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_two_daemons_on_one_redis_both_deliver(hub: Hub, bus: Bus, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        async for second in running_hub(Bus(redis, SystemClock()), Markets()):
            writers = [await subscriber(hub, MARKET), await subscriber(second, MARKET)]
            await bus.publish([message(1), message(2)])
            for writer in writers:
                await writer.until(lambda out: out.seqs("trade") == [1, 2])


async def test_after_redis_was_away_clients_learn_where_things_stand(own_valkey: EmbeddedValkey) -> None:
    markets = Markets()
    async with Redis.from_url(own_valkey.url) as redis:
        bus = Bus(redis, SystemClock())
        async for hub in running_hub(bus, markets):
            watcher, everything = await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)
            await own_valkey.stop()
            markets.versions[MARKET] = 4
            await own_valkey.start()

            await watcher.until(lambda out: out.seqs("market_state")[-1] == 4)
            await everything.until(lambda out: out.frames[-1]["type"] == "resync")
            await bus.publish([message(4), message(5)])
            await watcher.until(lambda out: 5 in out.seqs("trade"))
            assert watcher.seqs("trade") == [5]
