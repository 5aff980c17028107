"""What was committed reaches subscribers, whichever read failed and whoever followed the stream before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from tests.integration.realtime.hubs import SETTINGS, running_hub, subscriber
from tests.integration.realtime.listeners import (
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    eventually,
)
from tests.patience import SECONDS
from zmartd.clock import SystemClock
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.realtime.bus import Bus
from zmartd.realtime.filters import Filter
from zmartd.realtime.followed import LOOK_SECONDS, StreamUnavailable
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import AnyMessage, Snapshot
from zmartd.realtime.subscription_errors import ForeignStream
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store import streams
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.streams import Changes, StreamPosition


class StumblingHistory(StreamHistory):
    """Fails to read messages, also with a read under way, or makes looks wait, where the test says so."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.failing = False
        self.failures = 0
        self.looks = 0
        self.snapshots_read = 0
        self.looking = asyncio.Event()
        self.looking.set()
        self.reading = asyncio.Event()
        self.reading.set()

    async def changes(self, horizon: str | None) -> Changes:
        await self.looking.wait()
        found = await super().changes(horizon)
        self.looks += 1
        return found

    async def snapshots(self, names: Sequence[str]) -> dict[str, Snapshot]:
        found = await super().snapshots(names)
        self.snapshots_read += 1
        await self.reading.wait()
        return found

    async def after(self, positions: Mapping[str, StreamPosition]) -> dict[str, list[AnyMessage]]:
        found = await super().after(positions)
        if self.failing:
            self.failures += 1
            raise DatabaseUnavailable
        return found


@pytest.fixture
def history(database: Database) -> StumblingHistory:
    return StumblingHistory(database)


async def test_a_read_that_failed_is_repeated_though_nothing_new_happens(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    async with running_hub(bus, database, history) as hub:
        writers = [await subscriber(hub, MARKET), await subscriber(hub, EVERY_MARKET)]
        history.failing = True
        await markets.commit(None, None)
        await eventually(lambda: history.failures >= 2, timeout_seconds=SECONDS)
        history.failing = False
        for writer in writers:
            await writer.until(lambda out: out.told == [1, 2], timeout_seconds=SECONDS)


async def test_what_its_own_daemon_commits_needs_neither_redis_nor_a_look(
    own_valkey: EmbeddedValkey, database: Database, history: StumblingHistory
) -> None:
    async with Redis.from_url(own_valkey.url) as redis:
        bus = Bus(redis, SystemClock())
        markets = Markets(database, bus)
        await markets.create()
        async with running_hub(bus, database, history) as hub:
            watcher = await subscriber(hub, MARKET)
            history.looking.clear()
            await own_valkey.stop()
            await markets.change(None, None)
            await watcher.until(lambda out: out.told == [1, 2], timeout_seconds=SECONDS)
            history.looking.set()
            await own_valkey.start()
            await markets.change(None)
            await watcher.until(lambda out: out.told == [1, 2, 3], timeout_seconds=SECONDS)


class Pauses(SystemClock):
    """Keeps for how long somebody slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


async def test_a_look_waits_only_for_what_is_left_of_the_time_since_the_last_one(
    bus: Bus, history: StumblingHistory
) -> None:
    """The first message of a market that nobody followed waits for it."""
    clock = Pauses()
    hub = Hub(bus, history, SETTINGS, clock)
    followed = hub._streams
    running = asyncio.create_task(followed.run())
    await eventually(lambda: history.looks == 1)
    await asyncio.sleep(2 * LOOK_SECONDS)
    followed.look_now()
    await eventually(lambda: history.looks == 2)
    assert clock.slept == []
    followed.look_now()
    await eventually(lambda: history.looks == 3)
    assert all(seconds < LOOK_SECONDS for seconds in clock.slept)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_hub_that_ends_leaves_no_read_behind(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    async with running_hub(bus, database, history) as hub:
        await subscriber(hub, MARKET)
        history.failing = True
        await markets.commit(None)
        await eventually(lambda: history.failures >= 1)
    await eventually(lambda: len(asyncio.all_tasks()) == 1)


async def test_who_follows_a_market_takes_no_message_from_those_that_follow_all(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    """A message that was never published is in the state that the other client gets first."""
    async with running_hub(bus, database, history) as hub:
        everything = await subscriber(hub, EVERY_MARKET)
        history.looking.clear()
        await markets.commit(None, market_id=OTHER_MARKET)
        joining = asyncio.create_task(subscriber(hub, OTHER_MARKET))
        await asyncio.wait({joining}, timeout=1)
        history.looking.set()
        assert (await joining).frames[0]["seq"] == 1
        await everything.until(lambda out: out.told == [1])


async def test_what_a_look_finds_while_a_market_is_read_for_its_first_subscriber_arrives(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    async with running_hub(bus, database, history) as hub:
        history.reading.clear()
        joining = asyncio.create_task(subscriber(hub, MARKET))
        await eventually(lambda: history.snapshots_read == 1)
        await markets.commit(None)
        looks = history.looks
        await eventually(lambda: history.looks > looks + 1)
        history.reading.set()
        writer = await joining
        await writer.until(lambda out: out.told == [1])


async def test_a_subscription_to_all_is_answered_once_nothing_can_be_missed_from_then_on(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    history.looking.clear()
    async with running_hub(bus, database, history) as hub:
        joining = asyncio.create_task(subscriber(hub, EVERY_MARKET))
        await asyncio.wait({joining}, timeout=1)
        assert not joining.done()
        history.looking.set()
        writer = await joining
        await markets.commit(None, market_id=OTHER_MARKET)
        await writer.until(lambda out: out.told == [1])


async def test_a_subscription_to_all_is_refused_while_the_database_does_not_answer(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    history.looking.clear()
    async with running_hub(bus, database, history, turn_seconds=2.0) as hub:
        client = hub.connect(RecordingWriter())
        with pytest.raises(StreamUnavailable):
            await hub.subscribe(client, EVERY_MARKET)
        assert client.subscriptions == []
        history.looking.set()
        while not client.subscriptions:  # a look may take longer than the turn
            with suppress(StreamUnavailable):
                await hub.subscribe(client, EVERY_MARKET)
        assert client.subscriptions == [EVERY_MARKET]


async def test_who_follows_all_gets_nothing_from_before_although_a_look_finds_it_again(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    async with running_hub(bus, database, history) as hub:
        async with database.service() as slow:
            await slow.execute("select pg_current_xact_id()")
            await markets.commit(None, market_id=OTHER_MARKET)
            looks = history.looks
            await eventually(lambda: history.looks > looks + 1)
            writer = await subscriber(hub, EVERY_MARKET)
            await markets.commit(None, market_id=OTHER_MARKET)
            await writer.until(lambda out: len(out.told) > 0)
        await markets.commit(None, market_id=OTHER_MARKET)
        await writer.until(lambda out: out.told[-1] == 3)
        assert writer.told == [2, 3]


async def test_a_client_can_resume_before_the_hub_has_looked(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    committed = await markets.commit(None, None)
    assert committed[0].position is not None
    history.looking.clear()
    async with running_hub(bus, database, history) as hub:
        writer = await subscriber(hub, MARKET, since=committed[0].position)
        await writer.until(lambda out: out.told == [2])
        history.looking.set()


async def test_a_message_that_cannot_be_read_costs_its_stream_a_fresh_state_and_others_nothing(
    hub: Hub, markets: Markets, database: Database
) -> None:
    """A daemon of a later version wrote it."""
    writer, other = await subscriber(hub, MARKET), await subscriber(hub, OTHER_MARKET)
    async with database.service() as connection:
        await streams.append(connection, [(f"market:{MARKET}", b'{"data": {"type": "later"}}')])
    await markets.commit(None)
    await markets.commit(None, market_id=OTHER_MARKET)
    await other.until(lambda out: out.told == [1])
    await writer.until(lambda out: out.frames[-1].get("seq") == 2)
    assert [frame["type"] for frame in writer.frames] == ["market_state", "resync", "market_state"]
    await markets.commit(None)
    await writer.until(lambda out: out.told[-1] == 3)


async def test_in_another_database_whoever_follows_all_is_told_to_begin_anew(
    hub: Hub, markets: Markets, database: Database
) -> None:
    writer = await subscriber(hub, EVERY_MARKET)
    async with database.service() as connection:
        await connection.execute("update stream_epochs set database = 'the one that this was copied from'")
    await writer.until(lambda out: len(out.frames) > 1)
    assert [(frame["type"], frame["market_id"]) for frame in writer.frames[1:]] == [("resync", EVERY_MARKET)]


@pytest.mark.parametrize("among", [(MARKET,), (MARKET, OTHER_MARKET)])
async def test_who_resumes_while_the_database_does_not_answer_gets_what_was_missed_once_it_does(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory, among: Sequence[str]
) -> None:
    committed = await markets.commit(None, None, None)
    history.reading.clear()
    async with running_hub(bus, database, history, turn_seconds=0.5) as hub:
        writer = RecordingWriter()
        client = hub.connect(writer)
        since = committed[0].position
        if len(among) == 1:
            await hub.subscribe(client, MARKET, since=since)
        else:
            await hub.subscribe_to_many(
                client, {MARKET: since, OTHER_MARKET: None}, {name: name for name in among}
            )
        history.reading.set()
        await writer.until(lambda out: out.told == [2, 3])
        assert "resync" not in [frame["type"] for frame in writer.frames]


async def test_who_resumes_while_the_database_does_not_answer_and_has_missed_nothing_is_in_the_next_beat(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    committed = await markets.commit(None, None)
    history.reading.clear()
    async with running_hub(bus, database, history, turn_seconds=0.5) as hub:
        writer = RecordingWriter()
        client = hub.connect(writer)
        await hub.subscribe(client, MARKET, since=committed[-1].position)
        assert [*hub.sent()] == []
        history.reading.set()
        while not (  # noqa: ASYNC110 - nothing is sent that could be waited for
            sent := [(name, seq, [*clients]) for name, seq, clients in hub.sent()]
        ):
            await asyncio.sleep(0.01)
        assert sent == [(MARKET, 2, [client])]
        assert [frame["data"].get("known") for frame in writer.frames] == [False]


async def test_who_is_gone_is_not_subscribed_when_the_market_can_be_read_again(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory
) -> None:
    """A stream of events asks for its channels one after another, and its client may be gone meanwhile."""
    history.reading.clear()
    async with running_hub(bus, database, history, turn_seconds=0.5) as hub:
        gone = hub.connect(RecordingWriter())
        hub.disconnect(gone)
        await hub.subscribe(gone, MARKET)
        waiting = await subscriber(hub, MARKET)
        history.reading.set()
        await waiting.until(lambda out: len(out.frames) > 1)
        assert gone.subscriptions == []
        assert [len(list(clients)) for _, _, clients in hub.sent()] == [1]


@pytest.mark.parametrize("names", [[EVERY_MARKET], [EVERY_MARKET, MARKET], [MARKET]])
async def test_who_signs_out_while_waiting_gets_nothing_that_is_chosen_by_wallet(
    bus: Bus, markets: Markets, database: Database, history: StumblingHistory, names: list[str]
) -> None:
    """Frames shorten wallets for an anonymous client, but it would know whose they are."""
    chosen = Filter(wallet=TRADER)
    history.looking.clear()
    history.reading.clear()
    async with running_hub(bus, database, history) as hub:
        client = hub.connect(RecordingWriter())
        hub.sign_in(client, TRADER)
        if names == [EVERY_MARKET]:
            asked = hub.subscribe(client, EVERY_MARKET, chosen=chosen)
        else:
            labels = {name: name for name in names}
            asked = hub.subscribe_to_many(client, dict.fromkeys(names), labels, chosen=chosen)
        joining = asyncio.create_task(asked)
        await asyncio.sleep(0.1)
        hub.sign_out(client)
        history.looking.set()
        history.reading.set()
        with pytest.raises(ForeignStream):
            await joining
        assert (client.subscriptions, client.filters) == ([], {})
        assert not hub.want_every()
