from __future__ import annotations

import asyncio
import socket

from zmartd.http.sse.event_ids import EventIds
from zmartd.http.sse.event_stream import EventStream
from zmartd.http.ws.socket import SEND_BUFFER_BYTES


async def test_the_system_keeps_no_more_for_a_client_that_does_not_read_than_for_a_websocket() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        EventStream(transport, EventIds([], []))
        opened = transport.get_extra_info("socket")
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_BYTES
        transport.abort()


def test_a_client_that_is_gone_before_its_stream_begins_is_no_error() -> None:
    async def begin() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            transport.abort()
            await asyncio.sleep(0.01)
            EventStream(transport, EventIds([], []))

    asyncio.run(begin())  # uvloop gives no socket then, asyncio's own loop a closed one
