"""What is for one wallet alone reaches its session, whole and once, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.integration.realtime.hubs import running_hub, subscriber
from tests.integration.realtime.listeners import (
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    trade,
)
from zmartd.realtime import followed
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.followed import StreamUnavailable
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import OwnFill, OwnTransaction, WalletChange, WalletPosition, wallet_stream
from zmartd.realtime.stream import MAX_RECENT
from zmartd.realtime.subscription_errors import ForeignStream
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.streams import StreamPosition

OTHER_TRADER = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
OWN, OTHERS = wallet_stream(TRADER), wallet_stream(OTHER_TRADER)
SENT = OwnTransaction(signature="s", status="sent")
FILL = OwnFill(market_id=MARKET, trade=trade(), position=WalletPosition(shares_yes=10**9, trades_count=1))


class Trader:
    """A client that has signed in."""

    def __init__(self, hub: Hub, wallet: str = TRADER) -> None:
        self.hub = hub
        self.writer = RecordingWriter()
        self.client: Client = hub.connect(self.writer)
        hub.sign_in(self.client, wallet)

    async def subscribe(self, name: str = OWN, since: StreamPosition | None = None) -> None:
        await self.hub.subscribe(self.client, name, since=since)

    async def until_told(self, seqs: Sequence[int]) -> None:
        await self.writer.until(lambda out: self.told == list(seqs), timeout_seconds=30)

    @property
    def told(self) -> list[int]:
        """The numbers of the messages."""
        return [one["seq"] for one in self.writer.frames if "seq" in one and "epoch" not in one]


async def test_a_wallet_gets_what_is_its_own_and_nobody_else_does(hub: Hub, markets: Markets) -> None:
    owner, other = Trader(hub), Trader(hub, OTHER_TRADER)
    anonymous = RecordingWriter()
    await hub.subscribe(hub.connect(anonymous), EVERY_MARKET)
    await owner.subscribe()
    await other.subscribe(OTHERS)
    await other.subscribe(EVERY_MARKET)
    await markets.tell(TRADER, FILL, SENT)
    await markets.tell(OTHER_TRADER, SENT)
    await markets.change(None)
    await owner.until_told([1, 2])
    await anonymous.until(lambda out: out.told == [1])
    await other.writer.until(lambda out: len(out.frames) == 4)
    fill, sent = owner.writer.frames[1:]
    assert (fill["type"], fill["channel"], fill["data"]["market_id"]) == ("fill", OWN, MARKET)
    assert fill["data"]["position"]["shares_yes"] == str(10**9)
    assert (sent["type"], sent["data"]) == ("transaction", {"signature": "s", "status": "sent"})
    assert {frame.get("channel") for frame in other.writer.frames} == {OTHERS, None}
    assert all("channel" not in frame for frame in anonymous.frames)
    assert str(TRADER) not in str(anonymous.frames)


async def test_only_its_session_can_subscribe_to_a_wallet_s_stream(hub: Hub) -> None:
    other, anonymous = Trader(hub, OTHER_TRADER), hub.connect(RecordingWriter())
    for client in (other.client, anonymous):
        with pytest.raises(ForeignStream):
            await hub.subscribe(client, OWN)
        assert client.subscriptions == []
    unknown = Trader(hub)
    hub.set_trusted(unknown.client, False)
    with pytest.raises(StreamUnavailable):
        await unknown.subscribe()
    assert unknown.client.subscriptions == []


async def test_a_wallet_s_stream_resumes_exactly_on_every_daemon(
    hub: Hub, markets: Markets, bus: Bus, database: Database
) -> None:
    told = await markets.tell(TRADER, *[SENT] * 4)
    async with running_hub(bus, database) as started_later:
        for one in (hub, started_later):
            for missed in range(4):
                trader = Trader(one)
                await trader.subscribe(since=told[3 - missed].position)
                await trader.writer.until(lambda out: len(out.frames) > 0)
                await trader.until_told(range(5 - missed, 5))
                answer = trader.writer.frames[0]
                assert (answer["type"], answer["seq"]) == ("user_state", 4 - missed)
                assert answer["data"]["recovered"] is True
        for since in (StreamPosition("f" * 16, 1), StreamPosition(str(answer["epoch"]), 9)):
            trader = Trader(started_later)
            await trader.subscribe(since=since)
            await trader.writer.until(lambda out: len(out.frames) > 0)
            assert trader.writer.frames[0]["data"]["recovered"] is False
            assert trader.writer.frames[0]["seq"] == 4


async def test_what_was_committed_for_a_wallet_and_never_published_arrives(
    hub: Hub, markets: Markets
) -> None:
    trader = Trader(hub)
    await trader.subscribe()
    lost = await markets.commit_for(TRADER, SENT, FILL)
    await trader.until_told([1, 2])
    await markets.publish(lost)
    await markets.tell(TRADER, SENT)
    await trader.until_told([1, 2, 3])


async def test_while_it_is_unknown_whether_a_session_goes_on_its_stream_pauses_and_loses_nothing(
    hub: Hub, markets: Markets
) -> None:
    trader, witness = Trader(hub), Trader(hub)
    await trader.subscribe()
    await witness.subscribe()
    await markets.tell(TRADER, SENT)
    await trader.until_told([1])
    hub.set_trusted(trader.client, False)
    await markets.tell(TRADER, SENT, FILL)
    await witness.until_told([1, 2, 3])
    assert trader.told == [1]
    hub.set_trusted(trader.client, True)
    await trader.until_told([1, 2, 3])
    await markets.tell(TRADER, SENT)
    await trader.until_told([1, 2, 3, 4])
    assert [frame["type"] for frame in trader.writer.frames].count("user_state") == 1


async def test_a_stream_that_paused_longer_than_the_history_says_that_something_is_missing(
    hub: Hub, markets: Markets
) -> None:
    trader, witness = Trader(hub), Trader(hub)
    await trader.subscribe()
    await witness.subscribe()
    hub.set_trusted(trader.client, False)
    many: list[WalletChange] = [SENT] * (MAX_RECENT + 1)
    await markets.tell(TRADER, *many)
    await witness.writer.until(lambda out: len(out.told) == len(many))
    hub.set_trusted(trader.client, True)
    await trader.writer.until(lambda out: len(out.frames) == 3)
    assert [frame["type"] for frame in trader.writer.frames] == ["user_state", "resync", "user_state"]
    assert trader.writer.frames[-1]["seq"] == len(many)


async def test_signing_out_ends_the_wallet_s_stream_and_no_other(hub: Hub, markets: Markets) -> None:
    trader, witness = Trader(hub), Trader(hub)
    for name in (OWN, MARKET):
        await trader.subscribe(name)
    await witness.subscribe()
    assert hub.sign_out(trader.client) == [OWN]
    assert trader.client.subscriptions == [MARKET]
    await markets.tell(TRADER, FILL)
    await witness.until_told([1])
    await markets.change(None)
    await trader.until_told([1])
    assert trader.writer.frames[-1]["market_id"] == MARKET
    assert not any(frame.get("type") == "fill" for frame in trader.writer.frames)


async def test_who_signs_in_as_another_wallet_gets_nothing_of_the_first(hub: Hub, markets: Markets) -> None:
    trader = Trader(hub)
    await trader.subscribe()
    assert hub.sign_in(trader.client, TRADER) == ()
    assert hub.sign_in(trader.client, OTHER_TRADER) == [OWN]
    await trader.subscribe(OTHERS)
    await markets.tell(TRADER, FILL)
    await markets.tell(OTHER_TRADER, SENT)
    await trader.until_told([1])
    assert trader.writer.frames[-1]["channel"] == OTHERS


async def test_a_session_that_ends_while_its_subscription_is_answered_gets_none(
    hub: Hub, markets: Markets
) -> None:
    trader = Trader(hub)
    joining = asyncio.create_task(trader.subscribe())
    await asyncio.sleep(0)
    hub.sign_out(trader.client)
    await joining
    await markets.tell(TRADER, FILL)
    witness = Trader(hub)
    await witness.subscribe(since=None)
    assert trader.writer.frames == []


async def test_wallets_that_come_and_go_leave_no_streams_behind_while_somebody_follows_all_markets(
    hub: Hub, markets: Markets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "MAX_STREAMS", 4)
    await subscriber(hub, EVERY_MARKET, MARKET, OTHER_MARKET)
    passing, wallets = Trader(hub), [f"{number:032}".replace("0", "x") for number in range(11, 20)]
    for wallet in wallets:
        hub.sign_in(passing.client, wallet)
        await passing.subscribe(wallet_stream(wallet))
    streams = hub._streams
    assert [one for one in wallets if streams.position(wallet_stream(one))] == wallets[-2:]
    assert streams.position(f"market:{MARKET}")
    await markets.tell(wallets[-1], SENT)
    await passing.writer.until(lambda out: out.seqs("transaction") == [1])


async def test_a_wallet_s_stream_is_followed_though_all_others_are_wanted(
    hub: Hub, markets: Markets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "MAX_STREAMS", 2)
    await subscriber(hub, EVERY_MARKET, MARKET, OTHER_MARKET)
    trader = Trader(hub)
    await trader.subscribe()
    await markets.tell(TRADER, SENT)
    await trader.until_told([1])
