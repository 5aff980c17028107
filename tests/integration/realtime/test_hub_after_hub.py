"""A hub goes on with the clients of another, whose state went through JSON: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.integration.realtime.hubs import SETTINGS, running_hub, subscriber
from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    eventually,
)
from zmartd.clock import SystemClock
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime import hub_state
from zmartd.realtime.beats import Beats
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.hub_state import HubState, Subscription
from zmartd.realtime.messages import AnyMessage, OwnTransaction, VoteCast, market_stream, wallet_stream
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.streams import StreamPosition

VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
TRADES = Filter(kinds=frozenset({"trade"}))


@asynccontextmanager
async def next_hub(bus: Bus, database: Database, hub: Hub, clients: Sequence[Client]) -> AsyncIterator[Hub]:
    """A hub in the place of another one, of which all these clients are."""
    state, places = hub.leave(clients)
    state = msgspec.json.decode(msgspec.json.encode(state), type=HubState)
    following = Hub(bus, StreamHistory(database), SETTINGS, SystemClock())
    following.go_on(state)
    for client, its_places in zip(clients, places, strict=True):
        assert its_places is not None
        adopted = following.connect(client._writer)
        following.adopt(adopted, [state.subscriptions[place] for place in its_places], client.wallet)
    task = asyncio.create_task(following.run())
    try:
        yield following
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def connected(hub: Hub, name: str, chosen: Filter | None = None) -> tuple[Client, RecordingWriter]:
    writer = RecordingWriter()
    client = hub.connect(writer)
    await hub.subscribe(client, name, chosen=chosen)
    return client, writer


async def test_what_was_committed_in_between_is_told_once_and_what_was_told_is_not(
    bus: Bus, markets: Markets, database: Database
) -> None:
    async with running_hub(bus, database) as hub:
        clients, writers = zip(
            *[await connected(hub, name) for name in (MARKET, ADDRESS, EVERY_MARKET)], strict=True
        )
        await markets.change(None, None)
        for writer in writers:
            await writer.until(lambda out: out.told == [1, 2])
        async with next_hub(bus, database, hub, clients) as following:
            await markets.commit(None)
            await markets.change(None, market_id=OTHER_MARKET)
            await markets.change(None)
            plain, by_address, every = writers
            for writer in (plain, by_address):
                await writer.until(lambda out: out.told == [1, 2, 3, 4])
            await every.until(lambda out: len(out.told) == 5)
            told = [(one["market_id"], one["seq"]) for one in every.frames if "seq" in one]
            assert [seq for market, seq in told if market == MARKET] == [1, 2, 3, 4]
            assert [seq for market, seq in told if market == OTHER_MARKET] == [1]
            assert {one["type"] for writer in writers for one in writer.frames[1:]} == {"trade"}
            assert following.entries()["subscriptions"] == 3
            assert following.entries()["waiting"] == 0


@pytest.mark.parametrize("name", [MARKET, EVERY_MARKET])
async def test_a_filter_names_the_number_before_as_if_nothing_had_been(
    bus: Bus, markets: Markets, database: Database, name: str
) -> None:
    async with running_hub(bus, database) as hub:
        client, writer = await connected(hub, name, TRADES)
        await markets.change(None, VOTE, VOTE)
        await writer.until(lambda out: out.told == [1])
        await eventually(lambda: hub._streams.seq_of(f"market:{MARKET}") == 3)
        async with next_hub(bus, database, hub, [client]):
            await markets.change(VOTE, None)
            await writer.until(lambda out: out.told == [1, 5])
            assert writer.frames[-1]["prev_seq"] == 1


async def test_the_stream_of_a_wallet_pauses_until_its_session_is_known_to_go_on(
    bus: Bus, markets: Markets, database: Database
) -> None:
    sent = OwnTransaction(signature="s", status="sent")
    async with running_hub(bus, database) as hub:
        writer = RecordingWriter()
        client = hub.connect(writer)
        hub.sign_in(client, TRADER)
        await hub.subscribe(client, wallet_stream(TRADER))
        await markets.tell(TRADER, sent)
        await writer.until(lambda out: out.told == [1])
        async with next_hub(bus, database, hub, [client]) as following:
            await markets.tell(TRADER, sent)
            watcher = await subscriber(following, MARKET)
            await markets.change(None)
            await watcher.until(lambda out: out.told == [1])
            assert writer.told == [1]
            [adopted] = [one for one in following.clients if one.wallet == TRADER]
            following.set_trusted(adopted, True)
            await writer.until(lambda out: out.told == [1, 2])


async def test_after_another_epoch_they_get_a_state(bus: Bus, markets: Markets, database: Database) -> None:
    async with running_hub(bus, database) as hub:
        client, writer = await connected(hub, MARKET)
        await markets.change(None)
        await writer.until(lambda out: out.told == [1])
        async with database.service() as connection:
            await connection.execute("update stream_epochs set database = 'another one'")
        async with next_hub(bus, database, hub, [client]):
            await writer.until(lambda out: out.frames[-1]["type"] == "market_state")
            assert [one["type"] for one in writer.frames[-2:]] == ["resync", "market_state"]
            await markets.change(None)
            await writer.until(lambda out: out.frames[-1]["type"] == "trade")


async def test_a_client_that_takes_too_much_to_describe_is_left_out(
    bus: Bus, markets: Markets, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_state, "MAX_REACHED", 1)
    async with running_hub(bus, database) as hub:
        client, writer = await connected(hub, EVERY_MARKET, TRADES)
        other, _ = await connected(hub, MARKET)
        await markets.change(None)
        await markets.change(None, market_id=OTHER_MARKET)
        await writer.until(lambda out: len(out.told) == 2)
        _, (place, its_own) = hub.leave([client, other])
        assert (place, its_own) == (None, [0])


class UnreadHistory(StreamHistory):
    """A database that says which streams have changed, and is away before anybody has read how."""

    async def after(self, positions: Mapping[str, StreamPosition]) -> dict[str, list[AnyMessage]]:
        raise DatabaseUnavailable


async def test_what_was_known_of_and_never_read_is_told(
    bus: Bus, markets: Markets, database: Database
) -> None:
    async with running_hub(bus, database, UnreadHistory(database)) as hub:
        client, writer = await connected(hub, MARKET)
        await markets.commit(None)
        await eventually(lambda: hub._streams._streams[market_stream(MARKET)].behind)
        await eventually(lambda: market_stream(MARKET) not in hub._streams._found)
        async with next_hub(bus, database, hub, [client]):
            await writer.until(lambda out: out.told == [1])


async def test_what_others_are_told_after_it_is_not_in_the_state(
    bus: Bus, markets: Markets, database: Database
) -> None:
    async with running_hub(bus, database) as hub:
        client, writer = await connected(hub, MARKET, TRADES)
        _, other = await connected(hub, MARKET, TRADES)
        await markets.change(None)
        for one in (writer, other):
            await one.until(lambda out: out.told == [1])
        state, (places,) = hub.leave([client])
        await markets.change(None)
        await other.until(lambda out: out.told == [1, 2])
        assert places == [0]
        assert state.subscriptions[0].reached == {market_stream(MARKET): 1}


async def test_who_has_left_is_told_no_more_that_it_has_everything(
    bus: Bus, markets: Markets, database: Database
) -> None:
    async with running_hub(bus, database) as hub:
        client, writer = await connected(hub, MARKET)
        _, other = await connected(hub, MARKET)
        hub.leave([client])
        Beats(hub, bus, SystemClock())._send()
        await other.until(lambda out: bool(out.beats))
        assert not writer.beats


class CountingReached(Mapping[str, int]):
    """Counts how often it is gone through."""

    def __init__(self, reached: dict[str, int]) -> None:
        self._reached = reached
        self.times = 0

    def __getitem__(self, stream: str) -> int:
        return self._reached[stream]

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return iter(self._reached)

    def __len__(self) -> int:
        return len(self._reached)


async def test_clients_of_all_markets_are_adopted_without_going_through_all_for_each(
    bus: Bus, database: Database
) -> None:
    hub = Hub(bus, StreamHistory(database), SETTINGS, SystemClock())
    reached = CountingReached({market_stream(MARKET): 1, market_stream(OTHER_MARKET): 2})
    every = Subscription(EVERY_MARKET, TRADES, gets=True, since=None, reached=reached)
    clients = [hub.connect(RecordingWriter()) for _ in range(3)]
    for client in clients:
        hub.adopt(client, [every], None)
    assert hub.entries()["subscriptions"] == 3
    assert hub._members.reached_of_all(clients[-1], TRADES) == reached._reached
    assert reached.times <= 1
