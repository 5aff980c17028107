"""What clients can ask for on the WebSocket, and how each is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.errors.auth import SessionRequired, SessionsUnavailable, Unauthorized
from zmartd.http.errors.websocket import (
    InvalidMessage,
    MarketIdRequired,
    TokenRequired,
    TooManyMessages,
    UnknownAction,
    UnknownChannel,
)
from zmartd.http.ws.messages import (
    ClientMessage,
    PingMessage,
    PongMessage,
    SignInMessage,
    SubscribeMessage,
    UnsubscribeMessage,
)
from zmartd.realtime.followed import StreamUnavailable
from zmartd.realtime.frames import FrameType
from zmartd.realtime.hub import ForeignStream, TooManySubscriptions, UnknownMarket


class Action(Struct, frozen=True, kw_only=True):
    """One `action` of a client's message."""

    message: type[ClientMessage]
    summary: str
    answers: tuple[FrameType, ...]
    """The types of frames that answer it, where it is not refused."""
    errors: tuple[type[ZmartdError], ...] = ()
    """The errors of its own, besides ANY_MESSAGE."""


ANY_MESSAGE: Final = (InvalidMessage, UnknownAction)
"""The errors that any message can be answered with."""

UNASKED: Final = (TooManyMessages,)
"""The errors that are told before the connection is closed."""

ACTIONS: Final[Mapping[str, Action]] = {
    "subscribe": Action(
        message=SubscribeMessage,
        summary="Get what is told of a market, of all, or of the session's wallet",
        answers=("market_state", "user_state", "subscribed"),
        errors=(
            MarketIdRequired,
            UnknownMarket,
            UnknownChannel,
            SessionRequired,
            ForeignStream,
            TooManySubscriptions,
            StreamUnavailable,
        ),
    ),
    "unsubscribe": Action(
        message=UnsubscribeMessage,
        summary="Get no more of it",
        answers=("market_state", "user_state", "unsubscribed"),
        errors=(MarketIdRequired, UnknownChannel, SessionRequired),
    ),
    "auth": Action(
        message=SignInMessage,
        summary="Sign in on an open connection",
        answers=("authenticated",),
        errors=(TokenRequired, Unauthorized, SessionsUnavailable),
    ),
    "ping": Action(message=PingMessage, summary="Ask for a pong", answers=("pong",)),
    "pong": Action(message=PongMessage, summary="Answer a ping, which does nothing", answers=()),
}
"""Every action by its name."""
