"""One stranger's WebSocket that sends as much as it can: it is closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
from asyncio import StreamReader, StreamWriter

import pytest

from tests.integration.http.ws.websocket_daemon import Daemon, StartDaemon
from tests.integration.realtime.listeners import MARKET
from tests.unit.http.ws.client_frames import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from zmartd.clock import SystemClock
from zmartd.config import RealtimeSettings

ALLOWED = 20
FEW = RealtimeSettings(max_messages_per_minute=ALLOWED)
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)
ENDLESS = frame(TEXT, b"begin", final=False) + frame(CONTINUATION, final=False) * 999
FLOODS = {
    "pings": frame(PING, b"{}") * 1_000,
    "pongs": frame(PONG) * 1_000,
    "texts": frame(TEXT, b"{}") * 1_000,
    "texts of pings": frame(TEXT, b"PING") * 1_000,
    "actions of pings": frame(TEXT, b'{"action":"ping"}') * 1_000,
    "empty texts": frame(TEXT) * 1_000,
    "bytes": frame(BINARY, b"{}") * 1_000,
    "fragments that never end": ENDLESS,
    "subscriptions": frame(TEXT, b'{"action":"subscribe","market_id":"%s"}' % MARKET.encode()) * 1_000,
}


async def opened(daemon: Daemon, behind: bytes = b"") -> tuple[StreamReader, StreamWriter]:
    server = daemon.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(UPGRADE + behind)
    return reader, writer


async def close_code(reader: StreamReader) -> int | None:
    """The code of the server's close frame, if one comes before it is gone."""
    received = b""
    async with asyncio.timeout(120):
        try:
            while chunk := await reader.read(4_096):
                received += chunk
        except ConnectionError:
            pass
    at = received.rfind(b"\x88")
    return int.from_bytes(received[at + 2 : at + 4], "big") if at >= 0 else None


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_client_that_sends_more_frames_than_it_may_is_closed(
    start: StartDaemon, flood: bytes
) -> None:
    daemon = await start(FEW)
    reader, writer = await opened(daemon)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(flood)
    assert await close_code(reader) == 1008
    writer.close()


async def test_answers_to_our_pings_take_nothing_from_the_messages(start: StartDaemon) -> None:
    daemon = await start(
        RealtimeSettings(max_messages_per_minute=2, max_control_frames_per_minute=1, heartbeat_seconds=0.5)
    )
    reader, writer = await opened(daemon)
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(6):
        await reader.readuntil(b"\x89\x00")
        writer.write(frame(PONG))
    writer.write(frame(TEXT, b'{"action":"subscribe","market_id":"*"}'))
    async with asyncio.timeout(120):
        await reader.readuntil(b"Subscribed to all markets")
    writer.close()


class TurnsOfTheLoop(SystemClock):
    """Counts the turns of the event loop, and remembers in which of them the time was asked for."""

    def __init__(self) -> None:
        self.asked_in: list[int] = []
        self._turn = 0
        asyncio.get_running_loop().call_soon(self._next)

    def time(self) -> float:
        self.asked_in.append(self._turn)
        return super().time()

    def _next(self) -> None:
        self._turn += 1
        asyncio.get_running_loop().call_soon(self._next)


async def test_others_have_their_turn_between_messages_that_came_together(start: StartDaemon) -> None:
    clock = TurnsOfTheLoop()
    daemon = await start(clock=clock)
    reader, writer = await opened(daemon)
    await reader.readuntil(b"welcome")
    clock.asked_in.clear()
    writer.write(frame(TEXT, b'{"action":"dance"}') * 20 + frame(TEXT, b'{"action":"auth"}'))
    async with asyncio.timeout(120):
        await reader.readuntil(b"token required")
    # An answer takes the time once, in the turn in which its message is handled.
    assert len(clock.asked_in) == len(set(clock.asked_in)) == 21
    writer.close()


async def test_bytes_that_are_sent_one_by_one_close_the_connection(start: StartDaemon) -> None:
    """Each makes the event loop turn once: more than a frame costs, at a byte."""
    daemon = await start(RealtimeSettings(max_messages_per_minute=1))
    reader, writer = await opened(daemon)
    await reader.readuntil(b"\r\n\r\n")

    async def drip() -> None:
        for byte in frame(TEXT, b"x" * 4_000):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    dripping = asyncio.create_task(drip())
    assert await close_code(reader) == 1008
    dripping.cancel()
    writer.close()


async def test_as_many_frames_as_allowed_close_nothing(start: StartDaemon) -> None:
    daemon = await start(FEW)
    reader, writer = await opened(daemon)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(frame(PING) * (ALLOWED - 1))
    writer.write(frame(TEXT, b'{"action":"subscribe","market_id":"*"}'))
    async with asyncio.timeout(120):
        await reader.readuntil(b"Subscribed to all markets")
    writer.close()


async def test_a_flood_that_comes_with_the_upgrade_closes_the_connection(start: StartDaemon) -> None:
    daemon = await start(FEW)
    reader, writer = await opened(daemon, frame(PING) * 5_000)
    assert await close_code(reader) == 1008
    writer.close()


async def test_after_a_handshake_that_fails_a_connection_is_any_other(start: StartDaemon) -> None:
    daemon = await start(FEW)
    reader, writer = await asyncio.open_connection(daemon.client.server.host, daemon.client.server.port)
    writer.write(UPGRADE.replace(b"Version: 13", b"Version: 99"))
    async with asyncio.timeout(120):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400")
        # No frames are counted: these lines before a request would be hundreds.
        writer.write(b"\r\n" * 3_000 + b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"HTTP/1.1 426")
    writer.close()


async def test_what_a_closed_client_goes_on_sending_is_not_read_and_its_socket_is_soon_gone(
    start: StartDaemon,
) -> None:
    daemon = await start(FEW)
    reader, writer = await opened(daemon)
    await reader.readuntil(b"\r\n\r\n")
    sent = 0
    async with asyncio.timeout(120):
        try:
            while True:
                writer.write(FLOODS["pings"])
                sent += len(FLOODS["pings"])
                await writer.drain()
        except ConnectionError:
            pass
    # The socket's buffers on both sides take some; nothing takes more.
    assert sent < 20_000_000


async def test_others_are_served_while_one_floods(start: StartDaemon) -> None:
    daemon = await start(FEW)
    good = await daemon.client.ws_connect("/ws")
    await good.receive_json()
    flooding = [await opened(daemon) for _ in range(5)]
    for _, writer in flooding:
        writer.write(FLOODS["fragments that never end"] * 50)
    await good.send_json({"action": "subscribe", "market_id": MARKET})
    async with asyncio.timeout(120):
        assert (await good.receive_json())["type"] == "market_state"
    for reader, writer in flooding:
        assert await close_code(reader) in {1008, None}
        writer.close()
