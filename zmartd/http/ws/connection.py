"""What a WebSocket client asks for: its messages, acted on one at a time, and the frames that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import SessionRequired, Unauthorized
from zmartd.http.errors.websocket import (
    InvalidMessage,
    MarketIdRequired,
    TokenRequired,
    TooManyMessages,
    UnknownChannel,
)
from zmartd.http.kit.identity import Session
from zmartd.http.ws import messages
from zmartd.http.ws.frame_limits import breaches
from zmartd.http.ws.messages import (
    ChannelMessage,
    ClientMessage,
    MessageId,
    PingMessage,
    SignInMessage,
    SubscribeMessage,
    UnsubscribeMessage,
)
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.http.ws.socket import WebSocket
from zmartd.log import get_logger
from zmartd.market.ids import is_market_id
from zmartd.metrics import Counter
from zmartd.realtime import frames
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.frames import Frame
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import wallet_of, wallet_stream
from zmartd.store.streams import StreamPosition

MAX_WAITING: Final = 8
"""Messages that wait to be acted on. Then no more are read until they have been."""
OWN_CHANNEL: Final = "user"
"""The stream of the session's wallet."""

NewestSlot = Callable[[], Awaitable[int | None]]
"""Returns the chain's newest slot that the daemon knows."""
_PING_TEXT = "PING"
"""What clients send that were written for exchanges."""

log = get_logger(__name__)

_refused = Counter("zmartd_websocket_errors", "Frames `error` that WebSocket clients were sent", ["code"])


class Services(Struct, frozen=True):
    """What all connections share."""

    hub: Hub
    sessions: Sessions
    monitor: SessionMonitor
    clock: Clock
    newest_slot: NewestSlot
    tasks: set[asyncio.Task[None]]
    """Those that act on messages. There is none for a client that sends nothing."""


class WebSocketConnection:
    """Acts on a client's messages, one at a time, each in a turn of the event loop of its own."""

    __slots__ = ("_client", "_is_acting", "_services", "_socket", "_waiting")

    def __init__(self, services: Services, socket: WebSocket, client: Client) -> None:
        self._services = services
        self._socket = socket
        self._client = client
        self._waiting: list[str | bytes | ClientMessage] = []
        self._is_acting = False

    def start(self, client_id: str, token: str | None) -> None:
        """Welcome the client.

        A bad `token` is answered with an error frame, and the client goes on as an anonymous one.
        """
        self._send(frames.welcome(client_id, self._now()))
        if token is not None:
            self._add(SignInMessage(token=token))

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    def receive(self, message: str | bytes) -> None:
        self._add(message)

    def drained(self) -> None:
        self._client.catch_up()
        self._go_on()

    def ended(self) -> None:
        self._waiting.clear()
        self._services.monitor.remove(self)
        self._services.hub.disconnect(self._client)

    def set_trusted(self, trusted: bool) -> None:
        """Whether the client gets what signed-in wallets get."""
        self._services.hub.set_trusted(self._client, trusted)

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that it is signed out, and why."""
        ended = self._services.hub.sign_out(self._client)
        self._send(frames.session_ended(session.wallet, reason.message, reason.code, self._now(), ended))

    def flooded(self, error: TooManyMessages) -> None:
        """Close the connection of a client that sends too many frames."""
        breaches.labels(error.code).inc()
        self._waiting.clear()
        self._send_error(error)
        self._client.close(CloseCode.POLICY_VIOLATION, error.code)

    def _add(self, message: str | bytes | ClientMessage) -> None:
        self._waiting.append(message)
        self._go_on()

    def _go_on(self) -> None:
        """Act on what waits, unless that is being done, or the client has not read the last answers."""
        if self._waiting and not self._is_acting and not self._socket.behind:
            self._is_acting = True
            tasks = self._services.tasks
            task = asyncio.get_running_loop().create_task(self._act_on_all(), name="messages of a client")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _act_on_all(self) -> None:
        try:
            while self._waiting and not self._client.closed and not self._socket.behind:
                await self._receive(self._waiting.pop(0))
                if not self._waiting:
                    self._socket.resume_reading()
                await asyncio.sleep(0)
        except Exception:
            log.exception("websocket.failed")
            self._client.close(CloseCode.INTERNAL_ERROR, "something went wrong on our side")
        finally:
            self._is_acting = False
            if self._client.closed:
                self._waiting.clear()
        self._go_on()

    async def _receive(self, message: str | bytes | ClientMessage) -> None:
        if isinstance(message, ClientMessage):
            await self._act(message)
        elif isinstance(message, bytes):
            self._send_error(InvalidMessage())
        elif message == _PING_TEXT:
            await self._act(PingMessage())
        else:
            await self._handle(message)

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
        hub = self._services.hub
        try:
            match message:
                case SubscribeMessage(since=since):
                    position = None if since is None else StreamPosition(since.epoch, since.seq)
                    await hub.subscribe(self._client, self._name(message), message_id, position)
                case UnsubscribeMessage():
                    hub.unsubscribe(self._client, self._name(message), message_id)
                case SignInMessage(token=token):
                    self._send(await self._sign_in(token), message_id)
                case PingMessage():
                    self._send(frames.pong(await self._services.newest_slot(), self._now()), message_id)
        except ZmartdError as error:
            self._send_error(error, message_id)

    async def _sign_in(self, token: str | None) -> Frame:
        if not token:
            raise TokenRequired
        session = await self._services.sessions.recognise(token)
        before = self._client.wallet
        if not self._client.closed:
            self._services.monitor.add(self, session)
        if ended := self._services.hub.sign_in(self._client, session.wallet):
            assert before is not None, "nobody else has such subscriptions"
            self._send(frames.replaced_session(before, ended, self._now()))
        expires_at = datetime.fromtimestamp(session.expires_at, UTC)
        return frames.authenticated(session.wallet, expires_at, self._now())

    def _name(self, message: ChannelMessage) -> str:
        """The hub's name of what a message is about.

        A market's address or its id in lower case, `*`, or a wallet's stream. Raises MarketIdRequired,
        UnknownChannel, SessionRequired.
        """
        if message.channel is None:
            return _market_name(message)
        if message.market_id is not None:
            raise InvalidMessage("Send either market_id or channel, not both.", field="channel")
        if wallet_of(message.channel) is not None:
            return message.channel
        if message.channel != OWN_CHANNEL:
            raise UnknownChannel(message.channel)
        if self._client.wallet is None:
            raise SessionRequired
        return wallet_stream(self._client.wallet)

    def _send_error(self, error: ZmartdError, message_id: MessageId | UnsetType = UNSET) -> None:
        _refused.labels(error.code).inc()
        self._send(frames.error(error, self._now()), message_id)

    def _send(self, frame: Frame, message_id: MessageId | UnsetType = UNSET) -> None:
        self._client.send(frames.answer(frame, message_id))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._services.clock.time(), UTC)


def _market_name(message: ChannelMessage) -> str:
    """The market of a message: its address, `*`, or its id in lower case. Raises MarketIdRequired."""
    name = message.market_id
    if not name:
        raise MarketIdRequired
    return name.lower() if is_market_id(name.lower()) else name
