"""JSON-RPC over WebSocket, with notifications."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from zmartd.embedded.localnet.callers import this_machine_only
from zmartd.embedded.localnet.chain.ledger import Ledger
from zmartd.embedded.localnet.dispatch import Dispatcher
from zmartd.embedded.localnet.methods.subscribing import SubscriptionMethods
from zmartd.embedded.localnet.subscriptions import Subscriptions
from zmartd.log import get_logger

MAX_MESSAGE_BYTES = 64 * 1024
MAX_CONNECTIONS = 1_000
MAX_QUEUED_FRAMES = 10_000
HEARTBEAT_SECONDS = 30.0

log = get_logger(__name__)


class WebSocketHandler:
    """Serves WebSocket connections until it is closed."""

    def __init__(self, subscriptions: Subscriptions, ledger: Ledger) -> None:
        self._subscriptions = subscriptions
        self._ledger = ledger
        self._sockets: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[this_machine_only])
        application.router.add_get("/", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._sockets) >= MAX_CONNECTIONS:
            raise web.HTTPServiceUnavailable(text=f"there are {MAX_CONNECTIONS} connections already\n")
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=MAX_MESSAGE_BYTES + 1,  # aiohttp refuses what is not smaller
        )
        await socket.prepare(request)
        client = _Client(socket)
        dispatcher = Dispatcher(SubscriptionMethods(self._subscriptions, client, self._ledger).table())
        writer = asyncio.create_task(client.write(), name="localnet-websocket-writer")
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                response = dispatcher.respond(message.data)
                if response is not None:
                    client.send(response)
        finally:
            self._sockets.discard(socket)
            self._subscriptions.remove_client(client)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(
            *(socket.close(code=1001, message=b"the localnet stops") for socket in list(self._sockets)),
            return_exceptions=True,
        )


class _Client:
    """The outgoing frames of one connection, which is closed when its client reads too slowly."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_FRAMES)
        self._closing: asyncio.Task[bool] | None = None

    def send(self, payload: bytes) -> None:
        try:
            self._frames.put_nowait(payload)
        except asyncio.QueueFull:
            if self._closing is None:
                log.warning("localnet.slow_client_dropped", frames=MAX_QUEUED_FRAMES)
                self._closing = asyncio.create_task(self._socket.close(code=1008, message=b"too slow"))

    async def write(self) -> None:
        while True:
            frame = await self._frames.get()
            await self._socket.send_str(frame.decode())
