from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from tests.integration.realtime.hubs import running_hub, subscriber
from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    state,
    trade,
)
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import DiscussionChange, PriceUpdate, VoteCast
from zmartd.realtime.subscription_errors import TooManySubscriptions, UnknownMarket
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition

VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
PRICE = PriceUpdate(price_yes=1, shares_yes=0, shares_no=0)


async def test_subscribers_get_what_is_published_in_its_order_and_numbered_without_gaps(
    hub: Hub, markets: Markets
) -> None:
    writer = await subscriber(hub, MARKET)
    for _ in range(10):
        await markets.change(trade(), PRICE, state(1), market_id=MARKET)
        await markets.change(VOTE, market_id=OTHER_MARKET)
    await writer.until(lambda out: len(out.told) == 30)
    assert writer.told == list(range(1, 31))
    assert [frame["type"] for frame in writer.frames[1:4]] == ["trade", "price_update", "market_state"]


async def test_nobody_gets_what_he_did_not_ask_for(hub: Hub, markets: Markets) -> None:
    idle, other, everything = (
        await subscriber(hub),
        await subscriber(hub, OTHER_MARKET),
        await subscriber(hub, EVERY_MARKET),
    )
    await markets.change(None, None)
    await everything.until(lambda out: out.told == [1, 2])
    assert idle.frames == []
    assert [frame["type"] for frame in other.frames] == ["market_state"]


async def test_the_market_is_named_as_the_client_named_it(hub: Hub, markets: Markets) -> None:
    by_id, by_address = await subscriber(hub, MARKET), await subscriber(hub, ADDRESS)
    everything = await subscriber(hub, EVERY_MARKET)
    await markets.change(None)
    for writer, name in ((by_id, MARKET), (by_address, ADDRESS), (everything, MARKET)):
        await writer.until(lambda out: out.seqs("trade") == [1])
        assert writer.frames[-1]["market_id"] == name
        assert writer.frames[-1]["data"]["marketId"] == name


async def test_a_market_that_is_in_the_firehose_anyway_comes_once(hub: Hub, markets: Markets) -> None:
    writer = await subscriber(hub, EVERY_MARKET, MARKET)
    await markets.change(None)
    await markets.change(None, None, market_id=OTHER_MARKET)
    await writer.until(lambda out: len(out.seqs("trade")) == 3)
    assert sorted((frame["market_id"], frame["seq"]) for frame in writer.frames[2:]) == [
        (MARKET, 1),
        (OTHER_MARKET, 1),
        (OTHER_MARKET, 2),
    ]


async def test_who_signs_in_sees_whole_wallets_from_then_on(hub: Hub, markets: Markets) -> None:
    writer = RecordingWriter()
    client = hub.connect(writer)
    await hub.subscribe(client, MARKET)
    await markets.change(None)
    await writer.until(lambda out: out.seqs("trade") == [1])
    client.signed_in = True
    await markets.change(None)
    await writer.until(lambda out: out.seqs("trade") == [1, 2])
    assert [frame["data"]["trader"] for frame in writer.frames[1:]] == ["FZ5W…dMYX", TRADER]


async def test_between_the_snapshot_and_the_live_frames_nothing_is_missed_or_repeated(
    hub: Hub, markets: Markets
) -> None:
    """Clients join while a market changes: each sees the state at its position, and all that follows."""

    async def change() -> None:
        for _ in range(40):
            await markets.change(trade(), PRICE, state(1))
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    writers = []
    while not changing.done():
        writers.append(await subscriber(hub, MARKET))
        await asyncio.sleep(0.002)
    await changing
    assert len(writers) > 1
    for writer in writers:
        answer = writer.frames[0]
        if answer["seq"] < 120:
            await writer.until(lambda out: out.told[-1:] == [120])
        assert writer.told == list(range(answer["seq"] + 1, 121))
        assert (answer["seq"] % 3, answer["data"]["totalShares"]) == (0, str(answer["seq"] // 3))


async def test_who_resumes_gets_exactly_what_was_missed(
    hub: Hub, markets: Markets, bus: Bus, database: Database
) -> None:
    watcher = await subscriber(hub, MARKET)
    await markets.change(trade("a"), PRICE, state(1))
    await markets.change(VOTE)
    await watcher.until(lambda out: out.told == [1, 2, 3, 4])
    epoch = watcher.frames[0]["epoch"]
    async with running_hub(bus, database) as started_later:
        for one in (hub, started_later):
            for missed in range(5):
                writer = await subscriber(one, MARKET, since=StreamPosition(epoch, 4 - missed))
                await writer.until(lambda out, missed=missed: len(out.frames) == 1 + missed)  # type: ignore[misc]
                answer = writer.frames[0]
                assert (answer["data"]["recovered"], answer["seq"]) == (True, 4 - missed)
                assert "market" not in answer["data"]
                assert writer.told == list(range(5 - missed, 5))
                assert writer.frames[1:] == watcher.frames[5 - missed :]


async def test_who_cannot_be_given_all_that_was_missed_gets_a_snapshot_and_none_of_it(
    hub: Hub, markets: Markets, bus: Bus, database: Database
) -> None:
    committed = await markets.change(trade(), PRICE, state(7))
    assert committed[0].position is not None
    epoch = committed[0].position.epoch
    for since in (StreamPosition("f" * 16, 2), StreamPosition(epoch, 4), StreamPosition(epoch, 2**53)):
        writer = await subscriber(hub, MARKET, since=since)
        await writer.until(lambda out: len(out.frames) == 1)
        answer = writer.frames[0]
        assert (answer["data"]["recovered"], answer["epoch"], answer["seq"]) == (False, epoch, 3)
        assert answer["data"]["totalShares"] == "7"
    async with database.service() as connection:
        await connection.execute("delete from stream_messages where seq = 1")
    async with running_hub(bus, database) as other:
        resumed, refused = (
            await subscriber(other, MARKET, since=StreamPosition(epoch, 1)),
            await subscriber(other, MARKET, since=StreamPosition(epoch, 0)),
        )
        for writer in (resumed, refused):
            await writer.until(lambda out: len(out.frames) > 0)
        assert [writer.frames[0]["data"]["recovered"] for writer in (resumed, refused)] == [True, False]


async def test_who_has_missed_more_than_may_be_left_unread_gets_a_snapshot_instead(
    hub: Hub, markets: Markets
) -> None:
    long = DiscussionChange(action="created", discussion_id="d", user_wallet=TRADER, content="x" * 30_000)
    watcher = await subscriber(hub, MARKET)
    committed = await markets.change(*[long] * 40, state(5))
    await watcher.until(lambda out: len(out.told) == 41)
    writers = []
    for missed, recovered in ((2, True), (40, False)):
        writer = RecordingWriter()
        writers.append(writer)
        await hub.subscribe(hub.connect(writer), MARKET, since=committed[-missed - 1].position)
        await writer.until(lambda out: len(out.frames) > 0)
        assert writer.frames[0]["data"]["recovered"] is recovered
        if recovered:
            await writer.until(lambda out: out.told == [40, 41])
    await markets.change(None)
    for writer in writers:
        await writer.until(lambda out: 42 in out.told)
    assert writers[1].told == [42]


async def test_what_was_committed_and_never_published_arrives(hub: Hub, markets: Markets) -> None:
    """A daemon was killed between its commit and its message, and another one lost some on the way."""
    writer, everything = await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)
    await markets.commit(None)
    for one in (writer, everything):
        await one.until(lambda out: out.told == [1])
    lost = await markets.commit(None, None)
    await markets.change(None)
    for one in (writer, everything):
        await one.until(lambda out: out.told == [1, 2, 3, 4])
    await markets.publish(lost)  # late, and twice
    await markets.change(None)
    for one in (writer, everything):
        await one.until(lambda out: 5 in out.told)
        assert one.told == [1, 2, 3, 4, 5]


async def test_what_two_daemons_publish_in_another_order_is_told_in_that_of_the_commits(
    hub: Hub, markets: Markets
) -> None:
    writer = await subscriber(hub, MARKET)
    first, second = await markets.commit(trade("a"), state(1)), await markets.commit(trade("b"), state(1))
    await markets.publish([*reversed(second), *reversed(first)])
    await writer.until(lambda out: len(out.told) == 4)
    assert writer.told == [1, 2, 3, 4]
    assert [frame["data"]["id"] for frame in writer.frames if frame["type"] == "trade"] == ["a", "b"]


async def test_another_database_is_another_epoch_and_clients_get_a_fresh_state(
    hub: Hub, markets: Markets, database: Database
) -> None:
    watcher, everything = await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)
    await markets.change(None)
    for writer in (watcher, everything):
        await writer.until(lambda out: out.told == [1])
    async with database.service() as connection:
        await connection.execute("update stream_epochs set database = 'the one that this was copied from'")
    await watcher.until(lambda out: out.frames[-1]["type"] == "market_state" and len(out.frames) > 2)
    await everything.until(lambda out: out.frames[-1]["type"] == "resync")
    before, (resync, fresh) = watcher.frames[0]["epoch"], watcher.frames[-2:]
    assert resync["type"] == "resync"
    assert (fresh["epoch"] != before, fresh["seq"]) == (True, 1)
    resumed = await subscriber(hub, MARKET, since=StreamPosition(before, 1))
    await resumed.until(lambda out: len(out.frames) == 1)
    assert resumed.frames[0]["data"]["recovered"] is False
    await markets.change(None)
    for writer in (watcher, everything):
        await writer.until(lambda out: out.told[-1] == 2)


async def test_what_was_committed_while_the_hub_did_not_run_arrives_when_it_runs_again(
    bus: Bus, markets: Markets, database: Database
) -> None:
    async with running_hub(bus, database) as hub:
        writers = [await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)]
        await markets.change(None)
        for writer in writers:
            await writer.until(lambda out: out.told == [1])
    await markets.change(None)
    task = asyncio.create_task(hub.run())
    for writer in writers:
        await writer.until(lambda out: out.told == [1, 2])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_client_that_stops_reading_is_dropped_and_the_others_lose_nothing(
    hub: Hub, markets: Markets
) -> None:
    slow, quick = await subscriber(hub, MARKET), await subscriber(hub, MARKET)
    slow.stalled = True
    await markets.change(*[None] * 100)
    await quick.until(lambda out: len(out.told) == 100)
    await markets.change(None)
    await quick.until(lambda out: out.told[-1] == 101)
    await slow.until(lambda out: out.closed is not None)
    assert slow.closed is not None
    assert slow.closed[0] == 1013
    assert 101 not in slow.told


async def test_an_unsubscribed_client_gets_no_more(hub: Hub, markets: Markets) -> None:
    witness = await subscriber(hub, MARKET)
    writer = RecordingWriter()
    client = hub.connect(writer)
    await hub.subscribe(client, MARKET)
    hub.unsubscribe(client, MARKET)
    await markets.change(None)
    await witness.until(lambda out: out.told == [1])
    assert [frame["data"]["message"] for frame in writer.frames] == [
        f"Subscribed to market {MARKET}",
        f"Unsubscribed from market {MARKET}",
    ]
    assert [frame["data"]["subscriptions"] for frame in writer.frames] == [[MARKET], []]


async def test_a_client_may_leave_while_its_subscription_is_answered(hub: Hub) -> None:
    writer = RecordingWriter()
    client = hub.connect(writer)
    joining = asyncio.create_task(hub.subscribe(client, MARKET))
    await asyncio.sleep(0)
    hub.disconnect(client)
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


@pytest.mark.parametrize("name", ["7c" * 32, "market-1", "\x00", "'; drop table markets; --"])
async def test_a_subscription_to_what_is_no_market_is_refused_and_takes_no_room(hub: Hub, name: str) -> None:
    client = hub.connect(RecordingWriter())
    with pytest.raises(UnknownMarket, match="on the chain"):
        await hub.subscribe(client, name)
    assert client.subscriptions == []


async def test_two_daemons_on_one_redis_both_deliver(
    hub: Hub, bus: Bus, markets: Markets, database: Database, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis, running_hub(Bus(redis, SystemClock()), database) as second:
        writers = [await subscriber(hub, MARKET), await subscriber(second, MARKET)]
        await markets.change(None, None)
        for writer in writers:
            await writer.until(lambda out: out.told == [1, 2])


async def test_without_redis_messages_come_late_and_are_all_there(
    own_valkey: EmbeddedValkey, database: Database
) -> None:
    async with Redis.from_url(own_valkey.url) as redis:
        bus = Bus(redis, SystemClock())
        markets = Markets(database, bus)
        await markets.create()
        async with running_hub(bus, database) as hub:
            watcher, everything = await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)
            await own_valkey.stop()
            await markets.change(trade(), state(4))
            for writer in (watcher, everything):
                await writer.until(lambda out: out.told == [1, 2])
            await own_valkey.start()
            await markets.change(trade(), state(1))
            for writer in (watcher, everything):
                await writer.until(lambda out: out.told[-1:] == [4])
                assert writer.told == [1, 2, 3, 4]
