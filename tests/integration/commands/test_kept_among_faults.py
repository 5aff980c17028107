"""WebSockets go on whatever their clients and the servers do while `zmartd serve` is restarted."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import aiohttp

from tests import patience
from tests.integration.commands.test_kept_websockets import (
    SENT,
    Follower,
    connect,
    markets,
    metric,
    service,
    sessions,
    stopped,
)
from tests.integration.http.ws.websocket_daemon import eventually
from tests.integration.realtime.listeners import MARKET, TRADER, Markets
from tests.ports import free_port
from tests.service_manager import RESTART, Service
from zmartd.http.auth.sessions import Sessions

__all__ = ["connect", "markets", "service", "sessions"]

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def raw(follower: Follower) -> asyncio.Transport:
    transport: asyncio.Transport = follower.socket._writer.transport
    return transport


async def test_who_is_sent_away_is_read_until_it_has_answered(service: Service) -> None:
    """Otherwise its connection ends after seconds, for which all others wait, and with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x89\x80\x00\x00\x00\x00" + b"\x81\x85\x00\x00")  # a ping, and half a message
    await reader.readuntil(b"\x8a\x00")
    service.send(RESTART)
    await reader.readuntil(b"\x03\xf4")  # 1012
    writer.write(b"\x00\x00hello" + b"\x88\x82\x00\x00\x00\x00\x03\xf4")
    async with asyncio.timeout(patience.SECONDS):
        await reader.read()
    writer.close()
    assert await service.ended() == 0


async def test_a_daemon_without_its_database_takes_them_over_and_leaves_them_again(
    service: Service, connect: Any, markets: Markets, sessions: Sessions
) -> None:
    plain, own = await connect(), await connect()
    token, _ = sessions.open(TRADER)
    await plain.ask(action="subscribe", market_id=MARKET)
    await own.ask(action="auth", token=token)
    await own.ask(action="subscribe", channel="user")
    await stopped(service)
    await markets.commit(None)
    await markets.commit_for(TRADER, SENT)
    url = service.environment["ZMARTD_DATABASE_URL"]
    service.environment["ZMARTD_DATABASE_URL"] = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    await service.start()
    assert (await plain.ask(action="ping"))["type"] == "pong"
    await stopped(service)
    service.environment["ZMARTD_DATABASE_URL"] = url
    await service.start()
    assert await plain.told(1) == [("trade", 1)]
    assert await own.told(1) == [("transaction", 1)]


async def test_clients_that_left_or_flooded_meanwhile_keep_nobody_from_going_on(
    service: Service, connect: Any, markets: Markets
) -> None:
    gone, reset, closing, flooding, quiet = [await connect() for _ in range(5)]
    await quiet.ask(action="subscribe", market_id=MARKET)
    await stopped(service)
    raw(gone).abort()
    lingering = struct.pack("ii", 1, 0)
    raw(reset).get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    raw(reset).abort()
    raw(closing).write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    raw(flooding).write(b"\x81\x84\x00\x00\x00\x00PING" * 20_000)
    await markets.commit(None)
    await service.start()
    assert await quiet.told(1) == [("trade", 1)]
    while (message := await flooding.receive()).type is aiohttp.WSMsgType.TEXT:
        pass
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
    raw(flooding).abort()

    async def only_one_is_open() -> bool:
        return await metric(service, "zmartd_websocket_connections") == 1

    await eventually(only_one_is_open, patience.SECONDS)


async def test_no_more_are_taken_over_than_may_be_open(service: Service, connect: Any) -> None:
    followers = [await connect() for _ in range(3)]
    await stopped(service)
    service.environment["ZMARTD_SERVER_MAX_CONNECTIONS"] = "2"
    await service.start()
    assert await metric(service, "zmartd_websocket_connections") == 2
    await followers[2].sent_away()
    for one in followers[:2]:
        assert (await one.ask(action="ping"))["type"] == "pong"
