"""Subscriptions to several channels at once, and to a part of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.integration.realtime.hubs import running_hub, subscriber
from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_ADDRESS,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    state,
    trade,
)
from zmartd.config import RealtimeSettings
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime import client as clients
from zmartd.realtime.batch import EncodedFrame
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.encodings import Audience
from zmartd.realtime.filters import Filter
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import OwnTransaction, PriceUpdate, VoteCast, wallet_stream
from zmartd.realtime.subscription_errors import ForeignStream, TooManySubscriptions, UnknownMarket
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition

VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
PRICE = PriceUpdate(price_yes=1, shares_yes=0, shares_no=0)
TRADES = Filter(kinds=frozenset({"trade"}))
BIG = replace(trade("big"), cost_lamports=5 * 10**9)
SENT = OwnTransaction(signature="s", status="sent")
OWN = wallet_stream(TRADER)


def steps(writer: RecordingWriter) -> list[tuple[int, int]]:
    """The numbers of the messages, each after that before it."""
    return [(one["prev_seq"], one["seq"]) for one in writer.frames if "prev_seq" in one]


async def test_with_a_filter_each_frame_names_the_one_before_it(hub: Hub, markets: Markets) -> None:
    writers = []
    for chosen in (TRADES, Filter(min_cost_lamports=2 * 10**9), None):
        writer = RecordingWriter()
        await hub.subscribe(hub.connect(writer), MARKET, chosen=chosen)
        writers.append(writer)
    everything = RecordingWriter()
    await hub.subscribe(hub.connect(everything), EVERY_MARKET, chosen=TRADES)
    await markets.change(VOTE, trade("a"), PRICE)
    await markets.change(VOTE, VOTE, market_id=OTHER_MARKET)
    await markets.change(VOTE, BIG, PRICE, state(1), VOTE)
    await writers[2].until(lambda out: len(out.told) == 8)
    assert steps(writers[0]) == [(0, 2), (2, 5)]
    assert steps(writers[1]) == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8)]
    assert [frame["data"]["id"] for frame in writers[1].frames if frame["type"] == "trade"] == ["big"]
    assert steps(writers[2]) == []
    assert steps(everything) == [(0, 2), (2, 5)]


async def test_who_joins_or_resumes_later_can_tell_as_well(hub: Hub, markets: Markets) -> None:
    first = RecordingWriter()
    await hub.subscribe(hub.connect(first), MARKET, chosen=TRADES)
    committed = await markets.change(trade(), VOTE, trade(), VOTE, state(1))
    await first.until(lambda out: len(out.told) == 2)
    later, resumed = RecordingWriter(), RecordingWriter()
    await hub.subscribe(hub.connect(later), MARKET, chosen=TRADES)
    since = committed[0].position
    await hub.subscribe(hub.connect(resumed), MARKET, since=since, chosen=TRADES)
    await markets.change(VOTE, trade())
    for writer, expected in (
        (first, [(0, 1), (1, 3), (3, 7)]),
        (later, [(3, 7)]),
        (resumed, [(1, 3), (3, 7)]),
    ):
        await writer.until(lambda out: out.told[-1:] == [7])
        assert steps(writer) == expected
        position = writer.frames[0]["seq"]
        for previous, seq in steps(writer):
            assert previous <= position < seq
            position = seq


async def test_who_begins_before_others_of_the_same_filter_misses_nothing_by_its_numbers(
    hub: Hub, markets: Markets
) -> None:
    """The others begin where nothing passes; who resumes from before that has no later number."""
    first = await markets.change(trade(), state(1))
    await markets.change(VOTE, VOTE)
    writers = []
    for since in (None, first[1].position):
        writer = RecordingWriter()
        await hub.subscribe(hub.connect(writer), MARKET, since=since, chosen=TRADES)
        await writer.until(lambda out: len(out.frames) > 0)
        writers.append(writer)
    assert [writer.frames[0]["seq"] for writer in writers] == [4, 2]
    await markets.change(trade())
    for writer in writers:
        await writer.until(lambda out: out.told[-1:] == [5])
        (((previous, seq)),) = steps(writer)
        assert previous <= writer.frames[0]["seq"] < seq


async def test_a_filter_by_category_and_by_wallet_chooses_among_all_markets(
    hub: Hub, markets: Markets
) -> None:
    crypto, own = RecordingWriter(), RecordingWriter()
    await hub.subscribe(hub.connect(crypto), EVERY_MARKET, chosen=Filter(category="crypto"))
    await hub.subscribe(hub.connect(own), EVERY_MARKET, chosen=Filter(wallet=TRADER))
    other = replace(trade("other"), user_wallet=ADDRESS)
    await markets.change(other, trade("mine"), category="crypto")
    await markets.change(other, trade("mine"), market_id=OTHER_MARKET, category="sports")
    for writer, number in ((crypto, 2), (own, 2)):
        await writer.until(lambda out, number=number: len(out.told) == number)  # type: ignore[misc]
    assert {frame["market_id"] for frame in crypto.frames[1:]} == {MARKET}
    assert {frame["data"]["id"] for frame in own.frames[1:]} == {"mine"}


async def test_many_channels_are_subscribed_to_with_one_answer_and_resumed_each_from_its_own_position(
    hub: Hub, markets: Markets
) -> None:
    told = await markets.change(None, None, None)
    await markets.change(state(3), market_id=OTHER_MARKET)
    await markets.tell(TRADER, SENT)
    epoch = told[0].position.epoch if told[0].position else ""
    writer = RecordingWriter()
    client = hub.connect(writer)
    hub.sign_in(client, TRADER)
    channels = {MARKET: told[0].position, OTHER_MARKET: None, OWN: StreamPosition("f" * 16, 1)}
    labels = {MARKET: f"market:{MARKET}", OTHER_MARKET: f"market:{OTHER_MARKET}", OWN: "user"}
    await hub.subscribe_to_many(client, channels, labels, message_id="m")
    await writer.until(lambda out: len(out.frames) == 3)
    answer, *missed = writer.frames
    assert (answer["type"], answer["id"]) == ("subscribed", "m")
    market = answer["data"]["channels"][1].pop("market")
    assert (market["market_id"], market["shares_yes"]) == (OTHER_MARKET, "3")
    assert answer["data"] == {
        "subscriptions": [MARKET, OTHER_MARKET, OWN],
        "channels": [
            {"channel": f"market:{MARKET}", "known": True, "epoch": epoch, "seq": 1, "recovered": True},
            {
                "channel": f"market:{OTHER_MARKET}",
                "known": True,
                "epoch": epoch,
                "seq": 1,
                "commitment": "confirmed",
            },
            {"channel": "user", "known": True, "epoch": epoch, "seq": 1, "recovered": False},
        ],
    }
    assert [(frame["market_id"], frame["seq"]) for frame in missed] == [(MARKET, 2), (MARKET, 3)]
    sent = {(name, seq) for name, seq, clients in hub.sent() if client in clients}
    assert sent == {(MARKET, 3), (OTHER_MARKET, 1), (OWN, 1)}
    await markets.change(None)
    await markets.tell(TRADER, SENT)
    await writer.until(lambda out: len(out.frames) == 5)
    hub.unsubscribe_from_many(client, [MARKET, OWN])
    await markets.change(None)
    await markets.tell(TRADER, SENT)
    await markets.change(None, market_id=OTHER_MARKET)
    await writer.until(lambda out: out.frames[-1].get("market_id") == OTHER_MARKET)
    assert [frame["type"] for frame in writer.frames[5:]] == ["unsubscribed", "trade"]


async def test_of_many_channels_all_are_subscribed_to_or_none(hub: Hub) -> None:
    client = hub.connect(RecordingWriter())
    await hub.subscribe(client, MARKET)
    for names, error in (
        ([OTHER_MARKET, "7c" * 32], UnknownMarket),
        ([OTHER_MARKET, OWN], ForeignStream),
        ([OTHER_MARKET, EVERY_MARKET, ADDRESS], TooManySubscriptions),
    ):
        with pytest.raises(error):
            await hub.subscribe_to_many(client, dict.fromkeys(names), {name: name for name in names})
        assert client.subscriptions == [MARKET]
    assert (await subscriber(hub, OTHER_MARKET)).closed is None


async def test_signing_out_ends_what_was_chosen_by_wallet(hub: Hub) -> None:
    client = hub.connect(RecordingWriter())
    hub.sign_in(client, TRADER)
    await hub.subscribe(client, MARKET, chosen=Filter(wallet=ADDRESS))
    await hub.subscribe(client, OTHER_MARKET)
    assert hub.sign_out(client) == [MARKET]
    assert client.subscriptions == [OTHER_MARKET]


async def test_filters_that_differ_cost_a_message_no_more_than_their_clients(
    hub: Hub, markets: Markets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each filter makes a group. Whoever follows all markets is not looked for in each of them."""
    writers = []
    for number in range(40):
        for name in (EVERY_MARKET, MARKET):
            writers.append(RecordingWriter())
            await hub.subscribe(hub.connect(writers[-1]), name, chosen=Filter(min_cost_lamports=number))
    looked_up = 0

    def counted(client: Client) -> int:
        nonlocal looked_up
        looked_up += 1
        return object.__hash__(client)

    monkeypatch.setattr(Client, "__hash__", counted)
    await markets.change(trade())
    for writer in writers:
        await writer.until(lambda out: out.told == [1])
    assert looked_up < 5 * len(writers)


async def test_channels_with_more_than_can_be_sent_cost_little_more_than_one_of_them(
    bus: Bus, markets: Markets, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much to be sent is found out by making its frames: not for each of many channels anew."""
    monkeypatch.setattr(clients, "MAX_ASKED_BYTES", 20_000)
    made = 0
    encoded = Broadcast.encoded

    def counted(broadcast: Broadcast, name: str, audience: Audience, prev_seq: int | None) -> EncodedFrame:
        nonlocal made
        made += 1
        return encoded(broadcast, name, audience, prev_seq)

    settings = RealtimeSettings(max_subscriptions=10)
    async with running_hub(bus, database, settings=settings) as hub:
        await subscriber(hub, MARKET, OTHER_MARKET)
        witness = await subscriber(hub, MARKET, OTHER_MARKET)
        first, *_ = await markets.change(*[trade(str(one)) for one in range(40)])
        await markets.change(*[trade(str(one)) for one in range(40)], market_id=OTHER_MARKET)
        await witness.until(lambda out: len(out.told) == 80)
        writer = RecordingWriter()
        client = hub.connect(writer)
        monkeypatch.setattr(Broadcast, "encoded", counted)
        names = [MARKET, OTHER_MARKET, ADDRESS, OTHER_ADDRESS]
        assert first.position is not None
        positions = dict.fromkeys(names, StreamPosition(first.position.epoch, 0))
        await hub.subscribe_to_many(client, positions, {name: name for name in names})
    assert [one["recovered"] for one in writer.frames[0]["data"]["channels"]] == [False] * 4
    one_at_most = 20_000 // 600
    assert made < 2 * one_at_most + len(names)
