"""What a WebSocket client asks for: its messages, acted on one at a time, and the frames that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import Unauthorized
from zmartd.http.errors.websocket import (
    InvalidMessage,
    TokenRequired,
    TooManyMessages,
)
from zmartd.http.kit.identity import Session
from zmartd.http.ws import actions, messages
from zmartd.http.ws.frame_limits import breaches
from zmartd.http.ws.messages import (
    ClientMessage,
    MessageId,
    PingMessage,
    SignInMessage,
    SubscribeMessage,
    UnsubscribeMessage,
    WantedChannel,
)
from zmartd.http.ws.session_monitor import SessionMonitor
from zmartd.http.ws.socket import WebSocket
from zmartd.http.ws.subscriptions import ChannelNames, filter_of, key_of, position_of
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.realtime import frames
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.frames import Frame
from zmartd.realtime.hub import Hub
from zmartd.realtime.subscription_errors import ForeignStream, TooManySubscriptions, UnknownMarket

MAX_WAITING: Final = 8
"""Messages that wait to be acted on. Then no more are read until they have been."""

NewestSlot = Callable[[], Awaitable[int | None]]
"""Returns the chain's newest slot that the daemon knows."""
_PING_TEXT = "PING"
"""What clients send that were written for exchanges."""

log = get_logger(__name__)

_refused = Counter("zmartd_websocket_errors", "Frames `error` that WebSocket clients were sent.", ["code"])


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

    __slots__ = ("_services", "_waiting", "client", "is_acting", "socket", "token")

    def __init__(self, services: Services, socket: WebSocket, client: Client) -> None:
        self._services = services
        self.socket = socket
        self.client = client
        self._waiting: list[str | bytes | ClientMessage] = []
        self.is_acting = False
        """Whether a message is being acted on."""
        self.token: str | None = None
        """The token of the session that the client is signed in with."""

    def start(self, client_id: str, token: str | None) -> None:
        """Welcome the client.

        A bad `token` is answered with an error frame, and the client goes on as an anonymous one.
        """
        self._send(frames.welcome(client_id, self._now()))
        if token is not None:
            self._add(SignInMessage(token=token))

    def go_on(self, token: str | None) -> None:
        """Go on with a client that a process before this one had, and that was signed in with `token`."""
        if token is None:
            return
        try:
            self._services.monitor.add(self, self._services.sessions.read(token))
            self.token = token
        except Unauthorized as error:
            assert self.client.wallet is not None, "it was signed in"
            self._tell_session_ended(self.client.wallet, error)

    def leave(self) -> None:
        """Leave its session to the process that goes on with it, with what the client is subscribed to."""
        self._services.monitor.remove(self)

    @property
    def is_at_rest(self) -> bool:
        """Whether all that the client has sent was acted on, and all that it was sent has left."""
        return not self._waiting and not self.is_acting and self.socket.is_at_rest

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    def receive(self, message: str | bytes) -> None:
        self._add(message)

    def drained(self) -> None:
        self.client.catch_up()
        self._go_on()

    def ended(self) -> None:
        self._waiting.clear()
        self._services.monitor.remove(self)
        self._services.hub.disconnect(self.client)

    def set_trusted(self, trusted: bool) -> None:
        """Whether the client gets what signed-in wallets get."""
        self._services.hub.set_trusted(self.client, trusted)

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that it is signed out, and why."""
        self._tell_session_ended(session.wallet, reason)

    def flooded(self, error: TooManyMessages) -> None:
        """Close the connection of a client that sends too many frames."""
        breaches.labels(error.code).inc()
        self._waiting.clear()
        self._send_error(error)
        self.client.close(CloseCode.POLICY_VIOLATION, error.code)

    def _add(self, message: str | bytes | ClientMessage) -> None:
        self._waiting.append(message)
        self._go_on()

    def _go_on(self) -> None:
        """Act on what waits, unless that is being done, or the client has not read the last answers."""
        if self._waiting and not self.is_acting and not self.socket.behind:
            self.is_acting = True
            tasks = self._services.tasks
            task = asyncio.get_running_loop().create_task(self._act_on_all(), name="messages of a client")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _act_on_all(self) -> None:
        try:
            while self._waiting and not self.client.closed and not self.socket.behind:
                await self._receive(self._waiting.pop(0))
                if not self._waiting:
                    self.socket.resume_reading()
                await asyncio.sleep(0)
        except Exception:
            log.exception("websocket.failed")
            self.client.close(CloseCode.INTERNAL_ERROR, "something went wrong on our side")
        finally:
            self.is_acting = False
            if self.client.closed:
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
            message = actions.read(members)
        except ZmartdError as error:
            self._send_error(error, message_id)
        else:
            await self._act(message, message_id)

    async def _act(self, message: ClientMessage, message_id: MessageId | UnsetType = UNSET) -> None:
        """Do what the message asks for and answer it, if only with an error."""
        hub = self._services.hub
        try:
            match message:
                case SubscribeMessage():
                    await self._subscribe(message, message_id)
                case UnsubscribeMessage(channels=None):
                    hub.unsubscribe(self.client, ChannelNames(self.client).of(message), message_id)
                case UnsubscribeMessage():
                    names = ChannelNames(self.client).of_all(message)
                    hub.unsubscribe_from_many(self.client, names, message_id)
                case SignInMessage(token=token):
                    self._send(await self._sign_in(token), message_id)
                case PingMessage():
                    self._send(frames.pong(await self._services.newest_slot(), self._now()), message_id)
        except Unauthorized as error:
            self._send_error(error, message_id, key="token")
        except ZmartdError as error:
            self._send_error(error, message_id)

    async def _sign_in(self, token: str | None) -> Frame:
        if not token:
            raise TokenRequired
        session = await self._services.sessions.recognise(token)
        before = self.client.wallet
        if not self.client.closed:
            self._services.monitor.add(self, session)
            self.token = token
        if ended := self._services.hub.sign_in(self.client, session.wallet):
            assert before is not None, "nobody else has such subscriptions"
            self._send(frames.replaced_session(before, ended, self._now()))
        expires_at = datetime.fromtimestamp(session.expires_at, UTC)
        return frames.authenticated(session.wallet, expires_at, self._now())

    async def _subscribe(self, message: SubscribeMessage, message_id: MessageId | UnsetType) -> None:
        chosen = filter_of(message, signed_in=self.client.wallet is not None)
        hub, names = self._services.hub, ChannelNames(self.client)
        if message.channels is None:
            since, name = position_of(message.since), names.of(message)
            with _naming_the_key(message, [name]):
                await hub.subscribe(self.client, name, message_id, since, chosen)
            return
        labels = names.of_all(message)
        positions = {
            name: position_of(wanted.since) if isinstance(wanted, WantedChannel) else None
            for name, wanted in zip(labels, message.channels, strict=True)
        }
        with _naming_the_key(message, [*labels]):
            await hub.subscribe_to_many(self.client, positions, labels, message_id, chosen)

    def _tell_session_ended(self, wallet: str, reason: Unauthorized) -> None:
        self.token = None
        ended = self._services.hub.sign_out(self.client)
        self._send(frames.session_ended(wallet, reason.message, reason.code, self._now(), ended))

    def _send_error(
        self, error: ZmartdError, message_id: MessageId | UnsetType = UNSET, key: str | UnsetType = UNSET
    ) -> None:
        """`key`: what it is about, where the error does not say that itself."""
        _refused.labels(error.code).inc()
        self._send(frames.error(error, self._now(), key), message_id)

    def _send(self, frame: Frame, message_id: MessageId | UnsetType = UNSET) -> None:
        self.client.send(frames.answer(frame, message_id))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._services.clock.time(), UTC)


@contextmanager
def _naming_the_key(message: SubscribeMessage, names: Sequence[str]) -> Iterator[None]:
    """Has what the hub refuses of a message, by its `names` of the channels, say where the message has it."""
    try:
        yield
    except (ForeignStream, TooManySubscriptions, UnknownMarket) as error:
        error.details = replace(error.details, field=key_of(message, names, error.details))
        raise
