"""A hub goes on with the clients of another, whose state went through JSON: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import EVERY_MARKET, Hub
from zmartd.realtime.hub_state import HubState
from zmartd.realtime.messages import OwnTransaction, VoteCast, wallet_stream
from zmartd.store.postgres.database import Database

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
