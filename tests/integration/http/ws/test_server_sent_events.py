"""The frames as Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.integration.http.ws.websocket_daemon import Daemon, StartDaemon, eventually, trade
from tests.integration.realtime.listeners import ADDRESS, MARKET, OTHER_MARKET, TRADER
from zmartd.config import RealtimeSettings
from zmartd.http.ws.endpoint import WebSocketEndpoint

BOTH = f"market:{MARKET},market:{OTHER_MARKET}"


class Events:
    """What has come, and the last id, as EventSource keeps them."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self.last_id = ""
        self.frames: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        data = b""
        async with asyncio.timeout(60):
            async for line in self._response.content:
                field, _, value = line.rstrip(b"\n").partition(b": ")
                if field == b"id":
                    self.last_id = value.decode()
                elif field == b"data":
                    data = value
                elif not field and data:
                    self.frames.append(json.loads(data))
                    return self.frames[-1]
        raise EOFError

    async def until(self, count: int) -> list[dict[str, Any]]:
        """So many frames of streams."""
        while len(told := [one for one in self.frames if "seq" in one and "epoch" not in one]) < count:
            await self.next()
        return told


@asynccontextmanager
async def following(daemon: Daemon, channels: str, last_id: str = "", **query: str) -> AsyncIterator[Events]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    params = {"channels": channels, **query}
    async with daemon.client.get("/api/stream", params=params, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield Events(response)


async def test_an_event_has_the_frame_and_its_position(daemon: Daemon) -> None:
    async with following(daemon, f"market:{MARKET}") as events:
        state = await events.next()
        assert (state["type"], state["seq"]) == ("market_state", 0)
        assert events.last_id == f"{state['epoch']}:0"
        await daemon.markets.change(trade(1))
        (told,) = await events.until(1)
        assert (told["type"], told["market_id"], told["seq"]) == ("trade", MARKET, 1)
        assert events.last_id == f"{state['epoch']}:1"


async def test_who_comes_back_gets_exactly_what_was_missed(start: StartDaemon) -> None:
    here, elsewhere = await start(), await start()
    async with following(here, BOTH) as events:
        await here.markets.change(trade(1))
        await here.markets.change(trade(2), market_id=OTHER_MARKET)
        await events.until(2)
        epoch = events.frames[0]["epoch"]
        assert events.last_id == f"{epoch}:1,1"
    for number in (3, 4):
        await here.markets.change(trade(number))
    await here.markets.change(trade(5), market_id=OTHER_MARKET)
    async with following(elsewhere, BOTH, events.last_id) as again:
        told = await again.until(3)
        assert {frame["data"].get("recovered") for frame in again.frames if "epoch" in frame} == {True}
        assert [(one["market_id"], one["seq"]) for one in told] == [
            (MARKET, 2),
            (MARKET, 3),
            (OTHER_MARKET, 2),
        ]
        assert again.last_id == f"{epoch}:3,2"


async def test_a_first_connection_goes_on_after_the_position_of_an_answer(daemon: Daemon) -> None:
    (first, *_) = await daemon.markets.change(trade(1), trade(2))
    async with following(daemon, f"market:{ADDRESS}", since=str(first.position)) as events:
        (told,) = await events.until(1)
        assert (told["market_id"], told["seq"]) == (ADDRESS, 2)


@pytest.mark.parametrize(
    ("channels", "query", "status", "named"),
    [
        (f"market:{'0' * 64}", {}, 404, "no such market"),
        (f"markt:{MARKET}", {}, 400, 'did you mean "market:"?'),
        ("", {}, 400, "channels"),
        (f"{BOTH},market:{MARKET}", {}, 400, "twice"),
        ("user", {}, 401, "send the token of a session, as a header or as token"),
        (f"user:{TRADER}", {}, 403, "for that wallet alone"),
        (BOTH, {"since": "0123456789abcdef:1"}, 400, "since must be the id of an event of the same channels"),
        (BOTH, {"sinse": "x"}, 400, "since"),
        (",".join(["*"] + [f"market:{n:064x}" for n in range(50)]), {}, 400, "at most 50"),
    ],
)
async def test_what_is_wrong_is_named(
    daemon: Daemon, channels: str, query: dict[str, str], status: int, named: str
) -> None:
    response = await daemon.client.get("/api/stream", params={"channels": channels, **query})
    assert (response.status, response.content_type) == (status, "application/json")
    assert named in (await response.json())["message"]


@pytest.mark.parametrize("channels", ["user", f"user:{TRADER}", f"markt:{MARKET}"])
async def test_a_channel_that_a_client_may_not_have_is_named_by_its_parameter(
    daemon: Daemon, channels: str
) -> None:
    response = await daemon.client.get("/api/stream", params={"channels": channels})
    assert (await response.json())["details"]["field"] == "channels"


async def test_a_client_that_is_gone_leaves_nothing_behind(start: StartDaemon) -> None:
    daemon = await start(RealtimeSettings(max_connections_per_ip=1))
    for _ in range(3):
        async with following(daemon, f"market:{MARKET}") as events:
            await events.next()
            refused = await daemon.client.get("/api/stream", params={"channels": "*"})
            assert (refused.status, (await refused.json())["code"]) == (429, "too_many_connections")
        unknown = await daemon.client.get("/api/stream", params={"channels": f"market:{'0' * 64}"})

        async def has_place() -> bool:
            return (await daemon.client.head("/api/stream", params={"channels": "*"})).status == 200

        await eventually(has_place)

        async def is_admitted() -> bool:
            async with daemon.client.get("/api/stream", params={"channels": "*"}) as response:
                return response.status == 200

        await eventually(is_admitted, 60)
        assert unknown.status in {404, 429}
        await asyncio.sleep(1.5)


def place_that_waits(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Events for when a connection is to be counted, and for when it may be."""
    asked, allowed, take = asyncio.Event(), asyncio.Event(), WebSocketEndpoint.take_place

    async def take_late(endpoint: WebSocketEndpoint, client: str) -> None:
        asked.set()
        await allowed.wait()
        await take(endpoint, client)

    monkeypatch.setattr(WebSocketEndpoint, "take_place", take_late)
    return asked, allowed


_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.mark.parametrize(
    ("target", "headers"), [(f"/api/stream?channels=market:{MARKET}", ""), ("/ws", _UPGRADE)]
)
async def test_a_client_that_is_gone_before_it_is_counted_costs_no_error(
    target: str,
    headers: str,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, gone = place_that_waits(monkeypatch)
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.client.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
    async with asyncio.timeout(30):
        await asked.wait()
    writer.transport.abort()
    await asyncio.sleep(0.2)
    gone.set()
    await asyncio.sleep(0.5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "http.failed" not in capsys.readouterr().out


async def test_more_channels_than_a_connection_may_have_are_refused(daemon: Daemon) -> None:
    channels = f"*,{BOTH},market:{ADDRESS}"
    response = await daemon.client.get("/api/stream", params={"channels": channels})
    assert response.status == 400
    assert "channels must be fewer" in (await response.json())["message"]


async def test_a_wallet_gets_its_own_stream_until_its_session_ends(daemon: Daemon) -> None:
    token, session = daemon.sessions.open(TRADER)
    async with following(daemon, f"user,market:{MARKET}", token=token) as events:
        state = await events.next()
        assert (state["type"], state["channel"]) == ("user_state", f"user:{TRADER}")
        await daemon.markets.change(trade(1))
        (told,) = await events.until(1)
        assert told["data"]["user_wallet"] == TRADER
        await daemon.sessions.end(session)
        while (last := await events.next())["type"] != "end":
            pass
        assert last["data"]["code"] == 1008
        with pytest.raises(EOFError):
            await events.next()


async def test_a_daemon_that_stops_says_so(start: StartDaemon) -> None:
    daemon = await start()
    async with following(daemon, f"market:{MARKET}") as events:
        await events.next()
        stopping = asyncio.create_task(daemon.client.server.close())
        while (last := await events.next())["type"] != "end":
            pass
        assert last["data"]["code"] == 1012
        with pytest.raises(EOFError):
            await events.next()
        await stopping


async def test_a_stream_that_begins_while_the_daemon_stops_does_not_hold_it(
    start: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = await start()
    asked, allowed = place_that_waits(monkeypatch)
    asking = asyncio.create_task(daemon.client.get("/api/stream", params={"channels": f"market:{MARKET}"}))
    async with asyncio.timeout(10):
        await asked.wait()
        stopping = asyncio.create_task(daemon.client.server.close())
        await asyncio.sleep(0.3)
        allowed.set()
        async with await asking as response:
            text = await response.text()
            assert re.search(r'\nretry: [0-9]+\ndata: {"type":"end","data":{"code":1012', text)
        await stopping
