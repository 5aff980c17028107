from __future__ import annotations

import asyncio
import base64
import socket
import struct
from itertools import count

from prometheus_client import REGISTRY

from tests.integration.http.served import Client
from tests.integration.http.ws.websocket_daemon import StartDaemon, eventually, trade
from tests.integration.realtime.listeners import MARKET
from zmartd.config import RealtimeSettings

NOTE = "x" * 50_000


async def raw_websocket(client: Client) -> socket.socket:
    """A connection that reads only what it is told to, through a small buffer."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    await loop.sock_connect(sock, (client.server.host, client.server.port))
    key = base64.b64encode(bytes(16)).decode()
    await loop.sock_sendall(
        sock,
        f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode(),
    )
    answer = await loop.sock_recv(sock, 2_000)
    assert answer.startswith(b"HTTP/1.1 101")
    text = f'{{"action":"subscribe","market_id":"{MARKET}"}}'.encode()
    await loop.sock_sendall(sock, bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
    seen = b""
    while b"Subscribed" not in seen:
        seen += await loop.sock_recv(sock, 2_000)
    return sock


async def test_a_client_that_does_not_read_is_disconnected_while_others_get_everything(
    start: StartDaemon,
) -> None:
    daemon = await start(RealtimeSettings(max_buffered_bytes=262_144))
    dropped = _count("zmartd_websocket_dropped_clients_total")
    stuck = await raw_websocket(daemon.client)
    quick = await daemon.client.ws_connect("/ws")
    await quick.receive_json()
    await quick.send_json({"action": "subscribe", "market_id": MARKET})
    await quick.receive_json()

    version = 0
    async with asyncio.timeout(120):
        while _count("zmartd_websocket_dropped_clients_total") == dropped:
            version += 1
            await daemon.markets.change(trade(version, NOTE))
            assert (await quick.receive_json())["seq"] == version
    await daemon.markets.change(trade(version + 1))
    assert (await quick.receive_json())["seq"] == version + 1
    assert await _close_code(stuck) == 1013
    stuck.close()


async def test_a_client_that_never_reads_does_not_keep_its_connection(start: StartDaemon) -> None:
    daemon = await start(RealtimeSettings(max_buffered_bytes=65_536))
    stuck = await raw_websocket(daemon.client)
    connected = _count("zmartd_websocket_connections")
    versions = count(1)

    async def let_go() -> bool:
        await daemon.markets.change(trade(next(versions), NOTE))
        return _count("zmartd_websocket_connections") < connected

    await eventually(let_go)
    stuck.close()


def _count(metric: str) -> float:
    return REGISTRY.get_sample_value(metric) or 0.0


async def _close_code(sock: socket.socket) -> int:
    """Read the frames that are left, down to the close frame."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(120):
        while chunk := await loop.sock_recv(sock, 1_000_000):
            data += chunk
    (code,) = struct.unpack_from("!H", data, data.rindex(b"too slow") - 2)
    return int(code)
