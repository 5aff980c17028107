"""One WebSocket connection: reads the client's messages and acts on them, and writes frames to it."""

from __future__ import annotations

import asyncio
from asyncio import Transport
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import WSMsgType
from aiohttp.web import WebSocketResponse
from msgspec import UNSET, UnsetType

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import Unauthorized
from zmartd.http.errors.websocket import (
    InvalidMessage,
    MarketIdRequired,
    TokenRequired,
    TooManyMessages,
)
from zmartd.http.kit.identity import Session
from zmartd.http.ws import messages
from zmartd.http.ws.messages import (
    ClientMessage,
    MarketMessage,
    MessageId,
    PingMessage,
    SignInMessage,
    SubscribeMessage,
    UnsubscribeMessage,
)
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.market.ids import is_market_id
from zmartd.realtime import frames
from zmartd.realtime.client import Client
from zmartd.realtime.frames import Frame
from zmartd.realtime.hub import Hub
from zmartd.store.streams import StreamPosition

CLOSE_SECONDS = 3.0
"""How long a client may take to answer a close frame."""
POLICY_VIOLATION = 1008


NewestSlot = Callable[[], Awaitable[int | None]]
"""Returns the chain's newest slot that the daemon knows."""
_PING_TEXT = "PING"
"""What clients send that were written for exchanges."""


class WebSocketWriter:
    """Writes encoded frames to the transport, because the response object only sends one message at a time.

    The response also writes whole uncompressed frames to the transport, so the two do not interleave.
    """

    def __init__(self, response: WebSocketResponse, transport: Transport) -> None:
        self._response = response
        self._transport = transport
        self._closing: asyncio.Task[bool] | None = None

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            closing = self._response.close(code=code, message=reason.encode())
            self._closing = asyncio.create_task(closing)
            self.abort_later()

    def abort_later(self) -> None:
        """Abort the connection after CLOSE_SECONDS.

        Otherwise the unread frames of a client that never reads would stay in memory.
        """
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)


class WebSocketConnection:
    """Reads a client's messages one at a time and acts on them."""

    def __init__(
        self,
        *,
        response: WebSocketResponse,
        client: Client,
        hub: Hub,
        sessions: Sessions,
        monitor: SessionMonitor,
        clock: Clock,
        newest_slot: NewestSlot,
    ) -> None:
        self._response = response
        self._client = client
        self._hub = hub
        self._sessions = sessions
        self._monitor = monitor
        self._clock = clock
        self._newest_slot = newest_slot

    async def run(self, client_id: str, token: str | None) -> None:
        """Welcome the client and serve it until it disconnects.

        A bad `token` is answered with an error frame, and the client goes on as an anonymous one.
        """
        self._send(frames.welcome(client_id, self._now()))
        try:
            if token is not None:
                await self._act(SignInMessage(token=token))
            async for message in self._response:
                await self._receive(message.type, message.data)
                # Reading a buffered message does not yield to the event loop: this does.
                await asyncio.sleep(0)
        finally:
            self._monitor.remove(self)

    def set_trusted(self, trusted: bool) -> None:
        """Whether the client gets what signed-in wallets get."""
        self._client.signed_in = trusted

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that it is signed out, and why."""
        self.set_trusted(False)
        self._send(frames.session_ended(session.wallet, reason.message, reason.code, self._now()))

    async def _receive(self, kind: WSMsgType, data: str | bytes) -> None:
        if kind not in {WSMsgType.TEXT, WSMsgType.BINARY}:
            return
        if not isinstance(data, str):
            self._send_error(InvalidMessage())
        elif data == _PING_TEXT:
            await self._act(PingMessage())
        else:
            await self._handle(data)

    async def _handle(self, text: str) -> None:
        try:
            members = messages.decode(text)
        except InvalidMessage as error:
            self._send_error(error)
            return
        message_id = messages.id_of(members)
        try:
            message = messages.read(members)
        except ZmartdError as error:
            self._send_error(error, message_id)
        else:
            await self._act(message, message_id)

    async def _act(self, message: ClientMessage, message_id: MessageId | UnsetType = UNSET) -> None:
        """Do what the message asks for and answer it, if only with an error."""
        try:
            match message:
                case SubscribeMessage(since=since):
                    position = None if since is None else StreamPosition(since.epoch, since.seq)
                    await self._hub.subscribe(self._client, _market_name(message), message_id, position)
                case UnsubscribeMessage():
                    self._hub.unsubscribe(self._client, _market_name(message), message_id)
                case SignInMessage(token=token):
                    self._send(await self._sign_in(token), message_id)
                case PingMessage():
                    self._send(frames.pong(await self._newest_slot(), self._now()), message_id)
        except ZmartdError as error:
            self._send_error(error, message_id)

    async def _sign_in(self, token: str | None) -> Frame:
        if not token:
            raise TokenRequired
        session = await self._sessions.recognise(token)
        self._monitor.add(self, session)
        self.set_trusted(True)
        expires_at = datetime.fromtimestamp(session.expires_at, UTC)
        return frames.authenticated(session.wallet, expires_at, self._now())

    def close_flooding(self, error: TooManyMessages) -> None:
        """Close the connection of a client that sends too many frames."""
        self._send_error(error)
        self._client.close(POLICY_VIOLATION, error.code)

    def _send_error(self, error: ZmartdError, message_id: MessageId | UnsetType = UNSET) -> None:
        self._send(frames.error(error, self._now()), message_id)

    def _send(self, frame: Frame, message_id: MessageId | UnsetType = UNSET) -> None:
        self._client.send(frames.answer(frame, message_id))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _market_name(message: MarketMessage) -> str:
    """The market of a message: its address, `*`, or its id in lower case. Raises MarketIdRequired."""
    name = message.market_id
    if not name:
        raise MarketIdRequired
    return name.lower() if is_market_id(name.lower()) else name
