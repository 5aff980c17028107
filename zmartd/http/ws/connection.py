"""The conversation with one WebSocket client: what it may say, and what it is answered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from aiohttp import WSMsgType
from aiohttp.web import WebSocketResponse
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import Unauthorized
from zmartd.http.errors.websocket import (
    InvalidMessage,
    MarketIdRequired,
    TokenRequired,
    TooManyMessages,
    UnknownAction,
)
from zmartd.http.kit.identity import Session
from zmartd.http.ws.session_monitor import SignedIn
from zmartd.market.ids import is_market_id
from zmartd.realtime import frames
from zmartd.realtime.client import Client
from zmartd.realtime.frames import Frame
from zmartd.realtime.hub import Hub

MAX_NAME_LENGTH = 128
POLICY_VIOLATION = 1008


class ClientMessage(Struct, frozen=True):
    """What a client may send. Which fields it needs depends on the action."""

    action: str
    market_id: str | None = None
    token: str | None = None


_DECODER = msgspec.json.Decoder(ClientMessage)


class Connection:
    """Reads a client's messages one after the other and does what they ask."""

    def __init__(
        self,
        *,
        response: WebSocketResponse,
        client: Client,
        hub: Hub,
        sessions: Sessions,
        signed_in: SignedIn,
        clock: Clock,
    ) -> None:
        self._response = response
        self._client = client
        self._hub = hub
        self._sessions = sessions
        self._signed_in = signed_in
        self._clock = clock

    async def run(self, client_id: str, token: str | None) -> None:
        """Welcome the client and serve it until it is gone.

        A `token` that is not good is answered with an error frame; public frames need none.
        """
        self._send(frames.welcome(client_id, self._now()))
        try:
            if token is not None:
                await self._answer(ClientMessage("auth", token=token))
            async for message in self._response:
                await self._receive(message.type, message.data)
                # Messages that are there already are read without waiting: others get their turn here.
                await asyncio.sleep(0)
        finally:
            self._signed_in.remove(self)

    def trust(self, trusted: bool) -> None:
        """Whether the client gets what signed-in wallets get."""
        self._client.signed_in = trusted

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that it is not signed in any more, and why."""
        self.trust(False)
        self._send(frames.session_ended(session.wallet, reason.message, reason.code, self._now()))

    async def _receive(self, kind: WSMsgType, data: str | bytes) -> None:
        if kind not in {WSMsgType.TEXT, WSMsgType.BINARY}:
            return
        try:
            if kind is WSMsgType.BINARY:
                raise InvalidMessage
            message = _DECODER.decode(data)
        except ZmartdError as error:
            self._refuse(error)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self._refuse(InvalidMessage())
        else:
            await self._answer(message)

    async def _answer(self, message: ClientMessage) -> None:
        try:
            await self._act(message)
        except ZmartdError as error:
            self._refuse(error)

    async def _act(self, message: ClientMessage) -> None:
        match message.action:
            case "subscribe":
                await self._hub.subscribe(self._client, _name(message))
            case "unsubscribe":
                self._hub.unsubscribe(self._client, _name(message))
            case "auth":
                await self._sign_in(message)
            case "pong":
                pass
            case _:
                raise UnknownAction

    async def _sign_in(self, message: ClientMessage) -> None:
        if not message.token:
            raise TokenRequired
        session = await self._sessions.recognise(message.token)
        self._signed_in.put(self, session)
        self.trust(True)
        expires_at = datetime.fromtimestamp(session.expires_at, UTC)
        self._send(frames.authenticated(session.wallet, expires_at, self._now()))

    def refuse_frames(self, error: TooManyMessages) -> None:
        """End the connection of a client that sends too many frames."""
        self._refuse(error)
        self._client.close(POLICY_VIOLATION, error.code)

    def _refuse(self, error: ZmartdError) -> None:
        self._send(frames.error(error.message, error.code, self._now()))

    def _send(self, frame: Frame) -> None:
        self._client.send(frame.encode())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _name(message: ClientMessage) -> str:
    """The market a message is about, with an id in its one canonical form."""
    name = message.market_id
    if not name or len(name) > MAX_NAME_LENGTH:
        raise MarketIdRequired
    return name.lower() if is_market_id(name.lower()) else name
