"""What goes over the socket itself, with connections taken away from aiohttp and left with it."""

from __future__ import annotations

import asyncio
import struct
from asyncio import StreamReader
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.integration.http.ws.test_floods import UPGRADE, opened
from tests.integration.http.ws.websocket_daemon import Daemon, StartDaemon, eventually, trade
from tests.integration.realtime.listeners import MARKET
from tests.unit.http.ws.client_frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame
from zmartd.config import RealtimeSettings

SUBSCRIBE = frame(
    TEXT, b'{"action":"subscribe","market_id":"%s"}' % MARKET.encode(), mask=b"\x01\x02\x03\x04"
)
EVERYTHING = frame(TEXT, b'{"action":"subscribe","market_id":"*"}')


@pytest.fixture(params=[True, False], ids=["handed over", "left with aiohttp"])
def hands_over(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def until(reader: StreamReader, end: bytes) -> bytes:
    async with asyncio.timeout(120):
        return await reader.readuntil(end)


async def rest(reader: StreamReader) -> bytes:
    async with asyncio.timeout(120):
        return await reader.read()


def closed_with(code: int, received: bytes) -> bool:
    return struct.pack("!H", code) in received[received.rfind(b"\x88") :]


def gauge(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_frames_that_come_with_the_upgrade_are_read(start: StartDaemon, hands_over: bool) -> None:
    daemon = await start(hands_over=hands_over)
    reader, writer = await opened(daemon, SUBSCRIBE + EVERYTHING[:5])
    await until(reader, b"Subscribed to market")
    writer.write(EVERYTHING[5:])
    await until(reader, b"Subscribed to all markets")
    await daemon.markets.change(trade(1))
    await until(reader, b'"seq":1,')
    writer.close()


async def test_a_message_in_pieces_with_pings_between_is_read(start: StartDaemon, hands_over: bool) -> None:
    reader, writer = await opened(await start(hands_over=hands_over))
    await until(reader, b"welcome")
    text = b'{"action":"subscribe","market_id":"*"}'
    for piece in (
        frame(TEXT, text[:10], final=False),
        frame(PING, b"between"),
        frame(CONTINUATION, text[10:20], final=False),
        frame(CONTINUATION, text[20:]),
    ):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    assert b"\x8a\x07between" in await until(reader, b"Subscribed to all markets")
    writer.close()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"{}", reserved=0x40), 1002),
        (frame(CONTINUATION, b"{}"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * 4_097), 1009),
        (frame(BINARY, b"x" * 70_000)[:14], 1009),
        (frame(TEXT, b"x" * 3_000, final=False) + frame(CONTINUATION, b"x" * 2_000), 1009),
    ],
)
async def test_who_breaks_the_protocol_is_closed_with_its_code(
    start: StartDaemon, hands_over: bool, sent: bytes, code: int
) -> None:
    ended = REGISTRY.get_sample_value("zmartd_websocket_ended_connections_total", {"code": str(code)}) or 0
    reader, writer = await opened(await start(hands_over=hands_over))
    await until(reader, b"welcome")
    writer.write(sent)
    assert closed_with(code, await rest(reader))
    writer.close()
    now = REGISTRY.get_sample_value("zmartd_websocket_ended_connections_total", {"code": str(code)})
    assert now == ended + 1


@pytest.mark.parametrize(
    ("payload", "answer"),
    [(b"", b"\x88\x02\x03\xe8"), (struct.pack("!H", 4321) + b"bye", b"\x88\x02" + struct.pack("!H", 4321))],
)
async def test_a_client_that_closes_is_answered_after_what_was_sent_before(
    start: StartDaemon, hands_over: bool, payload: bytes, answer: bytes
) -> None:
    reader, writer = await opened(await start(hands_over=hands_over))
    await until(reader, b"welcome")
    writer.write(frame(PING, b"last") + frame(CLOSE, payload) + frame(PING, b"more"))
    received = await rest(reader)
    assert received.endswith(b"\x8a\x04last" + answer)
    writer.close()


async def test_places_and_counts_are_given_back_when_the_socket_ends(
    start: StartDaemon, hands_over: bool
) -> None:
    daemon = await start(RealtimeSettings(max_connections_per_ip=1), hands_over=hands_over)
    sockets, connections = gauge("zmartd_websocket_connections"), gauge("zmartd_http_connections")
    for ending in (frame(CLOSE), b"", frame(3)):
        reader, writer = await opened(daemon)
        assert b"101 Switching" in await until(reader, b"welcome")
        assert gauge("zmartd_websocket_connections") == sockets + 1
        writer.write(ending)
        await writer.drain()
        if not ending:
            writer.transport.abort()
        else:
            await rest(reader)
            writer.close()
        await eventually(lambda: _equals("zmartd_websocket_connections", sockets))
        await eventually(lambda: _equals("zmartd_http_connections", connections))


async def _equals(name: str, value: float) -> bool:
    return gauge(name) == value


async def test_an_idle_connection_has_no_task(start: StartDaemon) -> None:
    daemon = await start(RealtimeSettings(max_connections_per_ip=50))
    before = len(asyncio.all_tasks())
    opened_ones = [await opened(daemon, SUBSCRIBE) for _ in range(50)]
    for reader, _ in opened_ones:
        await until(reader, b"Subscribed")
    await eventually(lambda: _tasks_are(before))
    for _, writer in opened_ones:
        writer.close()


async def _tasks_are(most: int) -> bool:
    return len(asyncio.all_tasks()) <= most


async def test_at_shutdown_all_are_told_to_come_back_and_are_waited_for(
    start: StartDaemon, hands_over: bool
) -> None:
    daemon = await start(hands_over=hands_over)
    sockets = gauge("zmartd_websocket_connections")
    reading = [await opened(daemon) for _ in range(3)]
    for reader, _ in reading:
        await until(reader, b"welcome")
    await daemon.client.server.close()
    assert gauge("zmartd_websocket_connections") == sockets
    for reader, writer in reading:
        assert closed_with(1012, await rest(reader))
        writer.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"Version: 13", b"Version: 12"), b"Sec-WebSocket-Version must be 13"),
        ((b"Key: AAAA", b"Key: "), b"Sec-WebSocket-Key must be"),
        ((b"Key: AAAA", b"Key: ?\xff"), b"Sec-WebSocket-Key must be"),
        ((b"Connection: Upgrade", b"Connection: close"), b"Connection: Upgrade"),
        ((b"GET", b"HEAD"), b"400"),
    ],
)
async def test_a_handshake_that_is_not_one_is_refused(
    daemon: Daemon, change: tuple[bytes, bytes], says: bytes
) -> None:
    reader, writer = await asyncio.open_connection(daemon.client.server.host, daemon.client.server.port)
    writer.write(UPGRADE.replace(*change))
    received = await until(reader, says)
    assert received.startswith(b"HTTP/1.1 400")
    writer.close()


async def test_a_slow_sign_in_delays_nobody_else_and_nothing_overtakes_it(start: StartDaemon) -> None:
    daemon = await start()
    token, _ = daemon.sessions.open("FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX")
    hold, go_on = asyncio.Event(), asyncio.Event()
    recognise = daemon.sessions.recognise

    async def slowly(given: str) -> Any:
        hold.set()
        await go_on.wait()
        return await recognise(given)

    daemon.sessions.recognise = slowly  # type: ignore[assignment,method-assign] # one that answers late
    slow_reader, slow = await opened(daemon)
    slow.write(frame(TEXT, b'{"action":"auth","token":"%s"}' % token.encode()) + EVERYTHING)
    await hold.wait()
    reader, writer = await opened(daemon, EVERYTHING)
    await until(reader, b"Subscribed to all markets")
    go_on.set()
    received = await until(slow_reader, b"Subscribed to all markets")
    assert received.index(b"authenticated") < received.index(b"Subscribed")
    for one in (slow, writer):
        one.close()


async def test_messages_are_compressed_both_ways_for_who_offers_it(
    start: StartDaemon, hands_over: bool
) -> None:
    daemon = await start(hands_over=hands_over)
    socket = await daemon.client.ws_connect("/ws", compress=15)
    assert socket.compress == 15
    await socket.receive_json()
    for _ in range(2):
        await socket.send_json({"action": "subscribe", "market_id": MARKET, "id": "x" * 64})
        assert (await socket.receive_json())["type"] == "market_state"
    for seq in range(1, 4):
        await daemon.markets.change(trade(seq))
        assert (await socket.receive_json())["seq"] == seq
    reader, writer = await asyncio.open_connection(daemon.client.server.host, daemon.client.server.port)
    writer.write(UPGRADE.replace(b"Host: x", b"Host: x\r\nSec-WebSocket-Extensions: permessage-deflate"))
    head = await until(reader, b"\r\n\r\n")
    assert b"permessage-deflate; server_no_context_takeover; client_no_context_takeover" in head
    writer.write(frame(TEXT, b"x" * 5_000))
    assert closed_with(1009, await rest(reader))
    writer.close()


async def test_a_connection_that_its_client_does_not_close_is_counted_as_lost(
    start: StartDaemon, hands_over: bool
) -> None:
    daemon = await start(hands_over=hands_over)
    names = ("zmartd_websocket_opened_connections_total", "zmartd_websocket_lost_connections_total")

    async def until_counted(opened_more: int, lost_more: int, before: list[float]) -> None:
        expected = [before[0] + opened_more, before[1] + lost_more]

        async def counted() -> bool:
            return [gauge(name) for name in names] == expected

        await eventually(counted, 120)

    before = [gauge(name) for name in names]
    reader, writer = await opened(daemon)
    await until(reader, b"welcome")
    writer.write(frame(CLOSE, struct.pack("!H", 1001)))
    await rest(reader)
    writer.close()
    reader, writer = await opened(daemon)
    await until(reader, b"welcome")
    await until_counted(2, 0, before)
    writer.transport.abort()
    await until_counted(2, 1, before)
