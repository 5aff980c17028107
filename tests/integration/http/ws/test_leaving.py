"""What is kept of a signed-in client is one moment's, whatever happens to its session while it leaves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import closing

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.http.ws.websocket_daemon import Daemon
from tests.integration.realtime.listeners import TRADER, eventually
from zmartd.clock import Clock
from zmartd.http.ws import keeping
from zmartd.http.ws.endpoint import WEBSOCKET
from zmartd.http.ws.keeping import Arrived
from zmartd.realtime.messages import wallet_stream


class Keeper:
    """Keeps a descriptor, as systemd does."""

    def __init__(self) -> None:
        self.kept: list[socket.socket] = []

    async def keep(self, descriptor: int) -> bool:
        self.kept.append(socket.socket(fileno=os.dup(descriptor)))
        return True


def application(daemon: Daemon) -> web.Application:
    server = daemon.client.server
    assert isinstance(server, TestServer)
    return server.app


async def test_a_session_that_ends_while_its_client_leaves_is_left_to_the_next_process(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the client would be nobody there, with the stream of a wallet that waits for it."""
    endpoint, keeper = application(daemon)[WEBSOCKET], Keeper()
    token, session = daemon.sessions.open(TRADER)
    waits: list[Callable[[], bool]] = []

    async def until(condition: Callable[[], bool], _: Clock) -> None:
        waits.append(condition)
        if len(waits) == 2:  # for those who read what they were sent last
            await daemon.sessions.end(session)
            await endpoint._monitor.check()

    monkeypatch.setattr(keeping, "_until", until)
    async with daemon.client.ws_connect("/ws", params={"token": token}) as client:
        await client.send_json({"action": "subscribe", "channel": "user"})
        while "subscriptions" not in str(await client.receive_json()):
            pass
        await endpoint.drain(0, keeper)
        await endpoint.leave()
    [kept] = keeper.kept
    with closing(kept):
        state, sockets = keeping.read(kept)
    for one in sockets:
        one.close()
    [left] = state.clients
    assert [state.hub.subscriptions[place].name for place in left.subscriptions] == [wallet_stream(TRADER)]
    assert (left.wallet, left.token) == (TRADER, token)


async def test_of_a_flood_one_read_is_taken_before_anybody_goes_on_with_it() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    with closing(theirs):
        transport, arrived = await loop.connect_accepted_socket(Arrived, ours)
        await loop.sock_sendall(theirs, b"a")
        await eventually(lambda: bool(arrived.received))
        assert not transport.is_reading()
        transport.close()
